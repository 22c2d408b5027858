from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from made_up import LARGE, TEST, contents, manifest_of

from canonbench.errors import CanonbenchError
from canonbench.suite.fetch import fetch_published
from canonbench.suite.published import published_root

FILES = contents()
MANIFEST = manifest_of(FILES)
PUBLISHED = os.environ.get("CANONBENCH_PUBLISHED_DIR")


@pytest.fixture(autouse=True)
def _offline_by_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing must never touch the network."""
    monkeypatch.setenv("CANONBENCH_OFFLINE", "1")
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for path, body in FILES.items():
        target = tmp_path / "copy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
    return tmp_path / "copy"


def refused(source: Path, cache: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        fetch_published(source=source, cache=cache, manifest=MANIFEST, say=lambda _: None)
    assert "\n" not in str(caught.value)
    assert published_root(cache=cache, manifest=MANIFEST) is None
    return str(caught.value)


@pytest.mark.parametrize("given", [".", "data"])
def test_a_copy_is_imported_from_its_root_or_its_data_folder(copy: Path, tmp_path: Path, given: str) -> None:
    root = fetch_published(source=copy / given, cache=tmp_path / "cache", manifest=MANIFEST)
    assert published_root(cache=tmp_path / "cache", manifest=MANIFEST) == root
    assert {path: (root / path).read_bytes() for path in FILES} == FILES
    shutil.rmtree(copy)
    assert (root / TEST).read_bytes() == FILES[TEST]


def test_a_copy_without_the_large_texts_is_imported_and_the_note_says_what_follows(copy: Path, tmp_path: Path) -> None:
    (copy / LARGE).unlink()
    notes: list[str] = []
    root = fetch_published(source=copy, cache=tmp_path / "cache", manifest=MANIFEST, say=notes.append)
    assert notes[0] == (f"note: openwebtext-500 is not in {copy} ({LARGE}): openwebtext-100 will be the general text")
    assert not (root / LARGE).exists()
    assert published_root(cache=tmp_path / "cache", manifest=MANIFEST) == root


def test_no_note_about_large_texts_that_were_not_asked_for(copy: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    root = fetch_published(
        source=copy, cache=tmp_path / "cache", manifest=MANIFEST, without_openwebtext_500=True, say=notes.append
    )
    assert not (root / LARGE).exists()
    assert not [note for note in notes if "openwebtext" in note]


def test_the_large_texts_can_be_imported_later_from_another_copy(copy: Path, tmp_path: Path) -> None:
    fetch_published(source=copy, cache=tmp_path / "cache", manifest=MANIFEST, without_openwebtext_500=True)
    (tmp_path / "other").mkdir()
    (copy / LARGE).rename(tmp_path / "other" / "large.jsonl")
    root = fetch_published(source=tmp_path / "other", cache=tmp_path / "cache", manifest=MANIFEST)
    assert (root / LARGE).read_bytes() == FILES[LARGE]


def test_missing_files_are_named_and_nothing_is_imported(copy: Path, tmp_path: Path) -> None:
    (copy / TEST).unlink()
    (copy / "data/short.jsonl").unlink()
    message = refused(copy, tmp_path / "cache")
    assert message == f"{copy} lacks 2 files of the published data set: {TEST}, data/short.jsonl"
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


@pytest.mark.parametrize("path", [TEST, LARGE])
def test_a_file_is_not_trusted_for_its_name_and_size(copy: Path, tmp_path: Path, path: str) -> None:
    body = bytearray(FILES[path])
    body[4567] ^= 1
    (copy / path).write_bytes(body)
    assert f"{copy / path} is not the published file: git blob" in refused(copy, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(f"{Path(path).name}*"))


def test_a_shorter_file_is_refused_by_its_size(copy: Path, tmp_path: Path) -> None:
    (copy / TEST).write_bytes(FILES[TEST][:-1])
    assert "299999 bytes instead of 300000" in refused(copy, tmp_path / "cache")


def test_a_source_that_is_no_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    assert "is not a folder" in refused(copy / TEST, tmp_path / "cache")
    assert "is not a folder" in refused(tmp_path / "nowhere", tmp_path / "cache")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file on a disk that is always full")
def test_a_full_disk_is_one_line(copy: Path, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "published" / MANIFEST.commit[:12] / f"{TEST}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    assert "No space left on device" in refused(copy, tmp_path / "cache")
    assert not part.with_name(Path(TEST).name).exists()


def test_the_chosen_folder_comes_before_the_cache(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_published(source=copy, cache=tmp_path / "cache", manifest=MANIFEST)
    for chosen in (copy, copy / "data"):
        monkeypatch.setenv("CANONBENCH_PUBLISHED_DIR", str(chosen))
        assert published_root(cache=tmp_path / "cache", manifest=MANIFEST) == copy


def test_a_chosen_folder_that_holds_no_data_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, problem in ((tmp_path, "holds no data/ folder"), (tmp_path / "nowhere", "is not a folder")):
        monkeypatch.setenv("CANONBENCH_PUBLISHED_DIR", str(folder))
        with pytest.raises(CanonbenchError, match=f"CANONBENCH_PUBLISHED_DIR={folder} {problem}"):
            published_root()


@pytest.mark.skipif(not PUBLISHED, reason="CANONBENCH_PUBLISHED_DIR is not set: the real data set is not tested")
def test_the_real_data_set_is_imported_into_the_default_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path))
    root = fetch_published(source=Path(PUBLISHED), without_openwebtext_500=True)
    assert root == tmp_path / "published" / "15a1e7b0c726"
    assert published_root() == root
    assert len((root / "data/val100-val.jsonl").read_bytes().splitlines()) == 4007
