"""Write a folder whole or not at all, and remove one the same way: under its own name no half of it is ever seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from canonbench.errors import CanonbenchError
from canonbench.files import write_error

PART = ".part"
"""Ends the hidden name of what is being written, and of what a killed process left of it."""
GONE = ".gone"
"""Ends the hidden name of what is being removed."""


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill beside ``folder``, which takes its place, and that of anything there, once all is written.

    Raises:
        CanonbenchError: the disk is full, or cannot be written; then nothing has changed.
    """
    part = _hidden(folder, PART)
    try:
        shutil.rmtree(part, ignore_errors=True)  # a killed run's
        part.mkdir(parents=True)
        yield part
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner may read
        _exchange(folder, part)
    except OSError as error:
        raise write_error(folder, error) from error
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise CanonbenchError(f"cannot write {folder}: {error}; make room, or choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, if it is there; killed halfway, it is gone, and leaves a hidden rest.

    Raises:
        CanonbenchError: it cannot be removed.
    """
    try:
        gone = _aside(folder)
    except OSError as error:
        raise CanonbenchError(f"cannot remove {folder}: {error.strerror}") from error
    shutil.rmtree(gone, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written or half removed in ``folder``; nobody may be at work there."""
    for path in folder.glob(".*"):
        if path.name.endswith((PART, GONE)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _exchange(folder: Path, part: Path) -> None:
    """Put ``part`` where ``folder`` is, which goes only once it has."""
    gone = _aside(folder)
    try:
        part.rename(folder)
    except OSError:
        if gone.exists():
            gone.rename(folder)
        raise
    shutil.rmtree(gone, ignore_errors=True)


def _aside(folder: Path) -> Path:
    """Where a folder lies once it is renamed, if it was there."""
    gone = _hidden(folder, GONE)
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
    return gone


def _hidden(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}{ending}")
