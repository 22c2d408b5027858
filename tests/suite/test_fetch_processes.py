from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import Fault, FileServer, serving
from made_up import TEST, contents, manifest_of

from canonbench.suite.fetch import fetch_published
from canonbench.suite.published import published_root

FILES = contents()
MANIFEST = manifest_of(FILES)
SCRIPT = """
import sys
from pathlib import Path
from canonbench.suite.fetch import fetch_published
from canonbench.suite.published import load_manifest
manifest, cache, url = sys.argv[1:]
fetch_published(manifest=load_manifest(Path(manifest)), cache=Path(cache), base_url=url, backoff=0.01)
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)
    monkeypatch.delenv("CANONBENCH_OFFLINE", raising=False)  # only the server on this machine is asked
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(dict(FILES)) as running:
        yield running


@pytest.fixture
def start(server: FileServer, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a real process that fetches into ``tmp_path / "cache"``; none outlives the test."""
    (tmp_path / "manifest.json").write_text(MANIFEST.model_dump_json())
    started: list[subprocess.Popen[str]] = []
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CANONBENCH_", "HF_"))}

    def start_one(stderr: int | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "manifest.json"), str(tmp_path / "cache"), server.url]
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE if stderr is None else stderr,
            text=True,
            env=environment | {"TERM": "xterm"},
        )
        started.append(process)
        return process

    yield start_one
    server.gate.set()
    for process in started:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"waited 20 s for {what}"
        time.sleep(0.01)


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "published" / MANIFEST.commit[:12]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_of_two_processes_one_fetches_and_the_other_waits_says_so_and_finds_everything(
    server: FileServer, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    server.faults[TEST] = [Fault(stall_after=200_000)]
    first = start()
    wait_until(lambda: TEST in server.requested(), "the first process to be in the middle of a file")
    second = start()
    assert second.stderr is not None
    assert "another process is fetching" in second.stderr.readline()
    server.faults[TEST] = []
    server.gate.set()
    _, first_notes = first.communicate(timeout=30)
    _, second_notes = second.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (0, 0), first_notes + second_notes
    assert "network:" in first_notes
    assert "network:" not in second_notes
    whole = [request.path for request in server.requests if request.range is None]
    assert sorted(whole) == sorted(FILES)
    assert published_root(cache=tmp_path / "cache", manifest=MANIFEST) == folder_of(tmp_path)


def test_a_process_killed_in_the_middle_of_a_file_leaves_it_unnamed_and_the_next_continues(
    server: FileServer, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    server.faults[TEST] = [Fault(stall_after=200_000)]
    part = folder_of(tmp_path) / f"{TEST}.part"
    process = start()
    wait_until(lambda: size_of(part) > 100_000, "half of the file")
    process.kill()
    process.wait()
    assert not (folder_of(tmp_path) / TEST).exists()
    assert published_root(cache=tmp_path / "cache", manifest=MANIFEST) is None
    kept = size_of(part)
    server.requests.clear()
    root = fetch_published(manifest=MANIFEST, cache=tmp_path / "cache", base_url=server.url)
    assert {path: (root / path).read_bytes() for path in FILES} == FILES
    assert server.requests[0][:2] == (TEST, f"bytes={kept}-")
    assert "data/tea/split/tea-val.jsonl" not in server.requested()


def test_killed_again_and_again_it_ends_with_the_same_files(
    server: FileServer, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path)
    part = folder / f"{TEST}.part"
    for size in (0, 60_000, 120_000, 190_000):
        server.faults[TEST] = [Fault(piece=20_000, pause=0.02)]
        process = start()
        wait_until(lambda size=size: part.exists() and size_of(part) >= size, f"{size} bytes")
        process.kill()
        process.wait()
        for path, body in FILES.items():
            assert not (folder / path).exists() or (folder / path).read_bytes() == body
    server.faults[TEST] = []
    last = start()
    _, notes = last.communicate(timeout=30)
    assert last.returncode == 0, notes
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert not list(folder.rglob("*.part"))


def test_on_a_terminal_a_bar_names_the_file_and_its_bytes(
    server: FileServer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server.faults[TEST] = [Fault(stall_after=200_000)]
    terminal, theirs = pty.openpty()
    process = start(stderr=theirs)
    os.close(theirs)
    shown = ""
    while "196.6/300.0 kB" not in shown:
        shown += os.read(terminal, 4096).decode()
    server.gate.set()
    while chunk := _read(terminal):
        shown += chunk
    assert process.wait(timeout=30) == 0
    os.close(terminal)
    assert "2/4 tea-test.jsonl" in shown
    assert "fetched" not in shown
    assert "published data: 4 files in" in shown


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:  # Linux's way of saying that the other end of a terminal is closed
        return ""
