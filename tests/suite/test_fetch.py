from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import Fault, FileServer, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import LARGE, TEST, contents, described, manifest_of

from canonbench.errors import CanonbenchError, UsageError
from canonbench.suite.fetch import fetch_published
from canonbench.suite.published import Manifest, published_root

FILES = contents()
MANIFEST = manifest_of(FILES)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CANONBENCH_PUBLISHED_DIR", "CANONBENCH_OFFLINE", "HF_HUB_OFFLINE", "CANONBENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(dict(FILES)) as running:
        yield running


class Notes(list[str]):
    """A ``say`` that keeps what is said."""

    __call__ = list.append

    def text(self) -> str:
        return "\n".join(self)


def fetch(server: FileServer, cache: Path, *, manifest: Manifest = MANIFEST, **options: object) -> Path:
    quick = {"backoff": 0.01, "timeout": 5.0, "retries": 2, "say": Notes()}
    return fetch_published(cache=cache, manifest=manifest, base_url=server.url, **(quick | options))


def refused(server: FileServer, cache: Path, **options: object) -> str:
    """The one line with which fetching fails."""
    with pytest.raises(CanonbenchError) as caught:
        fetch(server, cache, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 1
    return message


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_holds(root: Path, files: dict[str, bytes] = FILES) -> None:
    """Exactly these files, in full, and the marker: no part, no temporary file."""
    assert names(root) == {*files, "complete.json"}
    for path, body in files.items():
        assert (root / path).read_bytes() == body, path


def test_every_file_arrives_verified_and_the_folder_then_counts_as_fetched(server: FileServer, tmp_path: Path) -> None:
    assert published_root(cache=tmp_path, manifest=MANIFEST) is None
    notes = Notes()
    root = fetch(server, tmp_path, say=notes)
    assert root == tmp_path / "published" / "0123456789ab"
    assert_holds(root)
    assert published_root(cache=tmp_path, manifest=MANIFEST) == root
    host = server.url.removeprefix("http://")
    assert notes[0] == f"network: fetching the published data set (4 files) from {host}"
    assert notes[1] == "fetched 1/4 tea-val.jsonl (900 bytes)"
    assert {request.encoding for request in server.requests} == {"identity"}  # else ranges would not count file bytes


def test_a_second_fetch_asks_the_server_nothing_and_works_offline(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(server, tmp_path)
    server.requests.clear()
    monkeypatch.setenv("CANONBENCH_OFFLINE", "1")
    assert_holds(fetch(server, tmp_path))
    assert server.requests == []


def test_offline_nothing_is_asked_and_the_line_says_what_to_do(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refused(server, tmp_path)
    assert "HF_HUB_OFFLINE=1" in message
    assert "--from DIR" in message
    assert server.requests == []


def test_without_openwebtext_500_the_large_text_is_left_out_and_can_be_added_later(
    server: FileServer, tmp_path: Path
) -> None:
    root = fetch(server, tmp_path, without_openwebtext_500=True)
    assert_holds(root, {path: body for path, body in FILES.items() if path != LARGE})
    assert published_root(cache=tmp_path, manifest=MANIFEST) == root
    server.requests.clear()
    assert_holds(fetch(server, tmp_path))
    assert server.requested() == [LARGE]
    assert_holds(fetch(server, tmp_path, without_openwebtext_500=True))


def test_a_slow_server_is_waited_for_as_long_as_bytes_come(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(piece=30_000, pause=0.06)]  # 0.6 s in all, twice the time-out
    assert_holds(fetch(server, tmp_path, timeout=0.3, retries=0))


def test_a_stalled_transfer_times_out_and_continues_where_it_stopped(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(stall_after=200_000)]
    notes = Notes()
    assert_holds(fetch(server, tmp_path, timeout=0.3, say=notes))
    assert "the server does not answer (timed out); trying again in 0.01 s (1 of 2)" in notes.text()
    ranges = [request.range for request in server.requests if request.path == TEST]
    assert ranges == [None, "bytes=196608-"]  # 3 × 64 KiB had arrived


def test_a_transfer_that_breaks_off_continues_with_a_range_request(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(break_after=200_000), Fault(break_after=70_000)]
    notes = Notes()
    assert_holds(fetch(server, tmp_path, say=notes))
    first, second, third = [request.range for request in server.requests if request.path == TEST]
    assert first is None
    assert 0 < int(second.removeprefix("bytes=")[:-1]) <= 200_000
    assert int(second.removeprefix("bytes=")[:-1]) < int(third.removeprefix("bytes=")[:-1]) <= 270_000
    assert "the connection broke off" in notes.text()


def test_a_server_that_ignores_range_is_read_from_the_start(server: FileServer, tmp_path: Path) -> None:
    server.honours_range = False
    server.faults[TEST] = [Fault(break_after=200_000)]
    assert_holds(fetch(server, tmp_path))


def test_when_patience_ends_what_arrived_is_kept_and_the_next_run_continues(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(break_after=200_000)]
    message = refused(server, tmp_path, retries=0)
    assert f"{server.url}/{TEST}" in message
    assert "the connection broke off (attempt 1 of 1); the same command continues after the 196608 bytes" in message
    folder = tmp_path / "published" / "0123456789ab"
    assert not (folder / TEST).exists()
    assert published_root(cache=tmp_path, manifest=MANIFEST) is None
    server.requests.clear()
    assert_holds(fetch(server, tmp_path))
    assert "data/tea/split/tea-val.jsonl" not in server.requested()
    assert server.requests[0].range is not None


@pytest.mark.parametrize("path", [TEST, LARGE])
def test_a_wrong_byte_is_refused_and_leaves_nothing_behind(server: FileServer, tmp_path: Path, path: str) -> None:
    server.faults[path] = [Fault(flip=123_456)] * 3
    message = refused(server, tmp_path)
    assert "is not the file that the manifest names: git blob" in message
    folder = tmp_path / "published" / "0123456789ab"
    assert not [name for name in names(folder) if path in name or "complete" in name]
    assert server.requested().count(path) == 1


def test_the_sha256_is_checked_besides_the_git_blob_id(server: FileServer, tmp_path: Path) -> None:
    other = MANIFEST.files[0].model_copy(update={"sha256": "0" * 64})
    message = refused(server, tmp_path, manifest=MANIFEST.model_copy(update={"files": (other,)}))
    assert f"instead of {'0' * 64}" in message


def test_a_part_that_is_not_the_files_beginning_is_dropped_and_the_file_fetched_whole(
    server: FileServer, tmp_path: Path
) -> None:
    part = tmp_path / "published" / "0123456789ab" / f"{TEST}.part"
    for body in (b"not the beginning" * 100, FILES[TEST] + b"and more"):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(body)
        server.requests.clear()
        root = fetch(server, tmp_path)
        assert_holds(root)
        assert [request.range for request in server.requests if request.path == TEST] == [f"bytes={len(body)}-", None]
        (root / TEST).unlink()


def test_a_part_that_is_whole_is_taken_without_asking(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "published" / "0123456789ab" / f"{TEST}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[TEST])
    assert_holds(fetch(server, tmp_path))
    assert TEST not in server.requested()


@settings(max_examples=20, deadline=None)
@given(kept=st.integers(0, 5000), honours_range=st.booleans(), known=st.booleans())
def test_from_any_beginning_the_file_is_completed(kept: int, honours_range: bool, known: bool) -> None:
    body = FILES[TEST][:5000]
    manifest = MANIFEST.model_copy(update={"files": (described("data/x.jsonl", body, known=known),)})
    with tempfile.TemporaryDirectory() as cache, serving({"data/x.jsonl": body}) as server:
        server.honours_range = honours_range
        part = Path(cache, "published", "0123456789ab", "data", "x.jsonl.part")
        part.parent.mkdir(parents=True)
        part.write_bytes(body[:kept])
        assert_holds(fetch(server, Path(cache), manifest=manifest), {"data/x.jsonl": body})


def test_a_body_that_ends_early_without_a_stated_length_counts_as_broken_off(
    server: FileServer, tmp_path: Path
) -> None:
    server.faults[TEST] = [Fault(break_after=200_000, no_length=True)]
    notes = Notes()
    assert_holds(fetch(server, tmp_path, say=notes))
    assert "the transfer ended after 200000 of 300000 bytes" in notes.text()


def test_not_found_is_final(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(status=404)]
    assert refused(server, tmp_path) == f"cannot fetch {server.url}/{TEST}: HTTP 404 Not Found"
    assert server.requested().count(TEST) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_error_is_tried_again(server: FileServer, tmp_path: Path, status: int) -> None:
    server.faults[TEST] = [Fault(status=status)]
    notes = Notes()
    assert_holds(fetch(server, tmp_path, say=notes))
    assert f"HTTP {status}" in notes.text()


def test_a_server_that_stays_broken_is_given_up_after_the_retries(server: FileServer, tmp_path: Path) -> None:
    server.faults[TEST] = [Fault(status=500)] * 9
    assert "HTTP 500 Internal Server Error (attempt 3 of 3)" in refused(server, tmp_path)
    assert server.requested().count(TEST) == 3


def _refused_at(url: str, cache: Path) -> str:
    return refused(FileServer(files={}, url=url), cache)


def test_a_refused_connection_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port, and it refuses
        message = _refused_at(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path)
    assert "no connection ([Errno 111] Connection refused) (attempt 3 of 3)" in message


def test_an_unknown_host_is_one_line(tmp_path: Path) -> None:
    assert "no connection (" in _refused_at("http://nowhere.invalid", tmp_path)


def test_a_url_that_is_none_is_one_line(tmp_path: Path) -> None:
    assert "cannot fetch nowhere/data" in _refused_at("nowhere", tmp_path)


def test_a_damaged_file_in_the_cache_is_replaced(server: FileServer, tmp_path: Path) -> None:
    root = fetch(server, tmp_path)
    (root / TEST).write_bytes(b"x" * len(FILES[TEST]))
    server.requests.clear()
    notes = Notes()
    assert_holds(fetch(server, tmp_path, say=notes))
    assert server.requested() == [TEST]
    assert f"{root / TEST} is damaged and removed" in notes.text()


def test_a_damaged_large_text_is_removed_even_where_it_is_left_out(server: FileServer, tmp_path: Path) -> None:
    root = fetch(server, tmp_path)
    (root / LARGE).write_bytes(b"x" * len(FILES[LARGE]))
    assert_holds(
        fetch(server, tmp_path, without_openwebtext_500=True),
        {path: body for path, body in FILES.items() if path != LARGE},
    )


def test_with_a_damaged_file_the_folder_stops_counting_even_if_it_cannot_be_replaced(
    server: FileServer, tmp_path: Path
) -> None:
    root = fetch(server, tmp_path)
    (root / TEST).write_bytes(b"x" * len(FILES[TEST]))
    server.faults[TEST] = [Fault(status=404)]
    refused(server, tmp_path)
    assert not (root / TEST).exists()
    assert published_root(cache=tmp_path, manifest=MANIFEST) is None


@pytest.mark.parametrize("damage", ["missing", "shorter", "{", "[]", '{"bytes": [1]}', '{"bytes": {}}'])
def test_a_folder_that_lost_something_does_not_count_as_fetched(
    server: FileServer, tmp_path: Path, damage: str
) -> None:
    root = fetch(server, tmp_path)
    if damage == "missing":
        (root / TEST).unlink()
    elif damage == "shorter":
        (root / TEST).write_bytes(FILES[TEST][:-1])
    else:
        (root / "complete.json").write_text(damage)
    assert published_root(cache=tmp_path, manifest=MANIFEST) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file on a disk that is always full")
def test_a_full_disk_is_one_line(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "published" / "0123456789ab" / f"{TEST}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    message = refused(server, tmp_path)
    assert "No space left on device" in message
    assert "CANONBENCH_CACHE" in message
    assert not (part.parent / Path(TEST).name).exists()


def test_a_cache_that_is_not_a_folder_is_one_line(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert str(tmp_path / "cache") in refused(server, tmp_path / "cache")
    assert server.requests == []


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Root may do anything to any folder; for a moment, be nobody instead."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
def test_a_cache_that_may_not_be_written_is_one_line(
    server: FileServer, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        cache = Path(base, "cache")
        cache.mkdir(mode)
        with without_root():
            message = refused(server, cache)
            assert published_root(cache=cache, manifest=MANIFEST) is None
            monkeypatch.setenv("CANONBENCH_PUBLISHED_DIR", str(cache))
            with pytest.raises(CanonbenchError, match=r"cannot be read|holds no data/"):
                published_root()
    assert "Permission denied" in message
    assert server.requests == []


def test_a_copy_and_a_base_url_at_once_are_misuse(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        fetch(server, tmp_path, source=tmp_path)
