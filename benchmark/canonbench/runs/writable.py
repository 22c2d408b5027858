"""Where the results will go is looked at before anything expensive happens."""

from __future__ import annotations

import os
from pathlib import Path

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import is_dir, written


def require_folder(run: Path) -> None:
    """A run folder can be made there, or is there and can be written; nothing is made yet.

    Raises:
        UsageError: it is a file, or lies under one.
        CanonbenchError: it cannot be written.
    """
    with written(run):
        nearest = next(place for place in (run, *run.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError(f"--run {run}: {nearest} is a file; a run is a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise CanonbenchError(f"--run {run}: {nearest} cannot be written; give another folder")


def require_output(output: Path, option: str = "--output") -> None:
    """A file can be written to ``output``, as far as can be told beforehand.

    Raises:
        UsageError: it is a folder, or its folder does not exist.
        CanonbenchError: its folder cannot be written.
    """
    folder = output.absolute().parent
    if not is_dir(folder):
        raise UsageError(f"{option} {output}: the folder {folder} does not exist")
    with written(output):
        is_folder = output.is_dir()
    if is_folder:
        raise UsageError(f"{option} {output} is a folder; give the name of a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CanonbenchError(f"{option} {output}: the folder {folder} cannot be written")
