"""Read files, write files and folders atomically, and check output paths before a run starts.

Every error is one line that names the path. Readers refuse anything that is not a regular file (reading a device or
pipe would never end), is too large, or is not UTF-8. A file or folder appears under its own name only when complete,
and is removed in the same way. The module also locates the data folders, which are inside the wheel or in the checkout
of an editable install. ``canonbench.records`` reads JSON, JSONL and YAML on top of it.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from canonbench.errors import CanonbenchError, UsageError

LARGEST = 2**30
"""Most bytes of a file that is read whole."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def read_bytes(path: Path, *, largest: int = LARGEST) -> bytes:
    """Read a regular file of at most ``largest`` bytes; otherwise raise a CanonbenchError that names it."""
    with _opened(path) as file:
        is_large = os.fstat(file.fileno()).st_size > largest
        content = b"" if is_large else file.read(largest + 1)
    if is_large or len(content) > largest:
        raise CanonbenchError(f"cannot read {path}: it is larger than {largest >> 20} MiB")
    return content


def read_text(path: Path, *, largest: int = LARGEST) -> str:
    """Read a UTF-8 file without changing line ends; otherwise raise a CanonbenchError that names it."""
    content = read_bytes(path, largest=largest)
    refuse_utf16(content, path)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonbenchError(f"{path}: not UTF-8 text") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a regular file as hex; CanonbenchError if it cannot be read."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; False for a path that no file can have (for example one that is too long)."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_dir(path: Path) -> bool:
    """Whether ``path`` is a folder; False for an impossible path, like ``is_file``."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        mode = path.stat().st_mode  # checked before opening: opening a pipe blocks until another process writes to it
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CanonbenchError(f"cannot read {path}: it is not a regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise CanonbenchError(f"cannot read {str(path)!r}: {error}") from error


def refuse_utf16(content: bytes, path: Path) -> None:
    """Raise CanonbenchError if ``content`` begins with a UTF-16 byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CanonbenchError(f"{path}: not UTF-8 text but UTF-16; save it as UTF-8")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an OSError inside the context into a CanonbenchError that names ``path`` and says what to do."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> CanonbenchError:
    """Make the error for a file or folder that cannot be written."""
    advice = ""
    if error.errno in NO_ROOM:
        advice = "; nothing written before is lost: make room and run the same command again"
    elif error.errno in FORBIDDEN:
        advice = "; choose a place that can be written"
    return CanonbenchError(f"cannot write {path}: {error.strerror or error}{advice}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to ``path`` that replaces it (for a link: its target) when the context ends.

    A kill or a full disk never leaves half a file, and a reader never sees one: the old file stays until the new one is
    on disk.

    Raises:
        CanonbenchError: the file cannot be written, or ``path`` exists and is not a regular file.
    """
    with written(path):
        target = path.resolve()
        if target.exists() and not target.is_file():
            raise CanonbenchError(f"cannot write {path}: it is not a regular file")
        part = target.with_name(f".{target.name[:64]}.{os.getpid()}.part")
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink()


def write_whole(path: Path, content: str | bytes | Callable[[Path], Any]) -> None:
    """Write ``content`` to ``path`` atomically: text as UTF-8, bytes, or a function that fills the file it is given.

    Raises:
        CanonbenchError: as for ``replacing``.
    """
    with replacing(path) as part:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


PACKAGE = Path(__file__).resolve().parent


def carried(in_wheel: str, in_checkout: str) -> Path:
    """Return a data folder: ``in_wheel`` inside an installed package, else ``in_checkout`` of an editable install."""
    packaged = PACKAGE / in_wheel
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / in_checkout


def data_root() -> Path:
    """Return the folder that holds ``mini/``, ``published/`` and ``flags/``."""
    return carried("data", "datasets")


def require_folder(run: Path) -> None:
    """Check that ``run`` is a writable folder or can be created, without creating it.

    Raises:
        UsageError: it is a file or inside one.
        CanonbenchError: it cannot be written.
    """
    with written(run):
        nearest = next(place for place in (run, *run.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError(f"--run {run}: {nearest} is a file; a run is a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise CanonbenchError(f"--run {run}: {nearest} cannot be written; give another folder")


def require_output(output: Path, option: str = "--output") -> None:
    """Check that a file can be written to ``output``, as far as this is known before writing.

    Raises:
        UsageError: it is a folder, or its parent folder does not exist.
        CanonbenchError: its parent folder cannot be written.
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


PART = ".part"
"""Suffix of the hidden name of a file or folder while it is written; a killed process leaves it behind."""
GONE = ".gone"
"""Suffix of the hidden name of a folder while it is removed."""


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it replaces ``folder``, and anything there, when the context ends.

    Raises:
        CanonbenchError: the disk is full or cannot be written; then nothing has changed.
    """
    part = _hidden(folder, PART)
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by a killed run
        part.mkdir(parents=True)
        yield part
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner may read
        _exchange(folder, part)
    except OSError as error:
        raise write_error(folder, error) from error
    except SafetensorError as error:  # safetensors raises this when the disk is full
        raise CanonbenchError(f"cannot write {folder}: {error}; make room, or choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder with its contents, if it exists. A kill halfway leaves only a hidden remainder.

    Raises:
        CanonbenchError: it cannot be removed.
    """
    try:
        gone = _aside(folder)
    except OSError as error:
        raise CanonbenchError(f"cannot remove {folder}: {error.strerror}") from error
    shutil.rmtree(gone, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove half-written or half-removed files left in ``folder`` by killed processes; no process may be using it."""
    for path in folder.glob(".*"):
        if path.name.endswith((PART, GONE)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _exchange(folder: Path, part: Path) -> None:
    """Replace ``folder`` by ``part``; the old folder is removed only after the rename succeeded."""
    gone = _aside(folder)
    try:
        part.rename(folder)
    except OSError:
        if gone.exists():
            gone.rename(folder)
        raise
    shutil.rmtree(gone, ignore_errors=True)


def _aside(folder: Path) -> Path:
    """Rename ``folder``, if it exists, to a hidden name, and return that name."""
    gone = _hidden(folder, GONE)
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
    return gone


def _hidden(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}{ending}")
