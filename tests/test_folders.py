"""Folders that appear and go whole: a process that dies at any step leaves one that can be made anew, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonbench.files import appearing, clear_leftovers, remove_folder

STEPS = ("mkdir", "rename", "unlink", "rmdir", "chmod")


def dying(monkeypatch: pytest.MonkeyPatch, after: int, work: Callable[[], None]) -> bool:
    """Do some work in a process that dies after so many changes of the disk; whether it did."""
    done = 0

    def step(real: Any) -> Any:
        def call(*args: Any, **how: Any) -> Any:
            nonlocal done
            done += 1
            if done > after:
                raise KeyboardInterrupt
            return real(*args, **how)

        return call

    with monkeypatch.context() as patched:
        for name in STEPS:
            patched.setattr(os, name, step(getattr(os, name)))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def write(folder: Path, text: str) -> None:
    with appearing(folder) as part:
        for name in ("a", "b"):
            (part / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> list[str] | None:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())] if folder.exists() else None


def test_a_folder_is_replaced_whole_wherever_the_process_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = 0
    for after in range(40):
        folder = tmp_path / str(after) / "folder"
        write(folder, "old")
        died = dying(monkeypatch, after, lambda folder=folder: write(folder, "new"))
        deaths += died
        assert content(folder) in (["old", "old"], ["new", "new"], None)
        write(folder, "newest")
        assert content(folder) == ["newest", "newest"]
        clear_leftovers(folder.parent)
        assert list(folder.parent.iterdir()) == [folder]
    assert 5 < deaths < 40


def test_a_folder_is_removed_whole_wherever_the_process_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = 0
    for after in range(10):
        folder = tmp_path / str(after) / "folder"
        write(folder, "old")
        deaths += dying(monkeypatch, after, lambda folder=folder: remove_folder(folder))
        assert content(folder) in (["old", "old"], None)
        remove_folder(folder)
        clear_leftovers(folder.parent)
        assert list(folder.parent.iterdir()) == []
    assert 2 < deaths < 10
    remove_folder(tmp_path / "nothing")


def test_nothing_is_lost_where_the_new_folder_cannot_be_filled(tmp_path: Path) -> None:
    def fails() -> None:
        with appearing(tmp_path / "folder") as part:
            (part / "a").write_text("half", encoding="utf-8")
            raise RuntimeError

    write(tmp_path / "folder", "old")
    with pytest.raises(RuntimeError):
        fails()
    assert content(tmp_path / "folder") == ["old", "old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
