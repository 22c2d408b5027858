"""Write a file whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from canonbench.errors import CanonbenchError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content``, text as UTF-8, to exactly ``path`` (through a link to its target), or leave what was there.

    It goes to a file beside it first and is moved over the old one, so a reader, a kill or a full disk never
    leaves half a file. CanonbenchError naming the path if it cannot be written or is no regular file.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise CanonbenchError(f"cannot write {path}: it is not a regular file")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise CanonbenchError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()
