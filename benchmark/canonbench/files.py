"""Read and write whole files: a fault is one line that names the file, and a file is written whole or not at all.

Refused is what is no regular file (a device or a pipe would be read for ever), is too large, or is not UTF-8.
``canonbench.records`` reads JSON, JSONL and YAML on top of this.

Where the package's own files lie: inside the wheel, or in the checkout that is installed editable.

Where the results will go is looked at before anything expensive happens.

Write a folder whole or not at all, and remove one the same way: under its own name no half of it is ever seen.
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
"""Bytes of a file that is read whole."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def read_bytes(path: Path, *, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file of at most ``largest`` bytes; CanonbenchError naming it otherwise."""
    with _opened(path) as file:
        is_large = os.fstat(file.fileno()).st_size > largest
        content = b"" if is_large else file.read(largest + 1)
    if is_large or len(content) > largest:
        raise CanonbenchError(f"cannot read {path}: it is larger than {largest >> 20} MiB")
    return content


def read_text(path: Path, *, largest: int = LARGEST) -> str:
    """The text of a UTF-8 file, line ends as they are; CanonbenchError naming the file otherwise."""
    content = read_bytes(path, largest=largest)
    refuse_utf16(content, path)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonbenchError(f"{path}: not UTF-8 text") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a regular file's bytes, as hex; CanonbenchError if it cannot be read."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path) -> bool:
    """Whether there is such a file; no error where the path is one that no file can have (too long, for one)."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; like ``is_file``."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        mode = path.stat().st_mode  # before it is opened: opening a pipe waits for someone to write into it
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CanonbenchError(f"cannot read {path}: it is not a regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise CanonbenchError(f"cannot read {str(path)!r}: {error}") from error


def refuse_utf16(content: bytes, path: Path) -> None:
    """CanonbenchError if bytes begin as UTF-16 does."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CanonbenchError(f"{path}: not UTF-8 text but UTF-16; save it as UTF-8")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn a failed write inside into one line that names the path and says what to do."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> CanonbenchError:
    """The error of a file or folder that cannot be written."""
    advice = ""
    if error.errno in NO_ROOM:
        advice = "; nothing written before is lost: make room and run the same command again"
    elif error.errno in FORBIDDEN:
        advice = "; choose a place that can be written"
    return CanonbenchError(f"cannot write {path}: {error.strerror or error}{advice}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to fill; it takes the place of ``path`` (of a link: of its target) when the block ends.

    A reader, a kill or a full disk never leaves half a file: what was there stays until the new file is on disk.

    Raises:
        CanonbenchError: it cannot be written, or ``path`` is there and is no regular file.
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
    """Write ``content`` (text as UTF-8; a function fills the file it is given) to ``path``, whole or not at all.

    Raises:
        CanonbenchError: as ``replacing``.
    """
    with replacing(path) as part:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


PACKAGE = Path(__file__).resolve().parent


def carried(in_wheel: str, in_checkout: str) -> Path:
    """A folder that a wheel carries inside the package, and an editable install reads from the checkout itself."""
    packaged = PACKAGE / in_wheel
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / in_checkout


def data_root() -> Path:
    """The folder that holds ``mini/``, ``published/`` and ``flags/``."""
    return carried("data", "datasets")


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
