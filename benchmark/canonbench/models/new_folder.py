"""Write a folder whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from canonbench.errors import CanonbenchError


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill beside ``folder``, which takes its place, and that of anything there, once all is written.

    Raises:
        CanonbenchError: the disk is full, or cannot be written; then nothing has changed.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # a killed run's
        part.mkdir(parents=True)
        yield part
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner may read
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CanonbenchError(f"cannot write {folder}: {reason}; make room, or choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
