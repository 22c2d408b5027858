"""Where the published data set is stored, and when it counts as being there.

A file stands under its final name only after it was verified; ``complete.json`` is written last, so the files
that it names were all there. No torch, no network: cheap to import.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from canonbench.errors import CanonbenchError
from canonbench.offline import cache_dir
from canonbench.suite.manifest import Manifest, load_manifest

MARKER = "complete.json"


def published_folder(manifest: Manifest, cache: Path | None = None) -> Path:
    """Where that commit of the published data set belongs, whether or not it is there."""
    return (cache or cache_dir()) / "published" / manifest.commit[:12]


def published_root(*, cache: Path | None = None, manifest: Manifest | None = None) -> Path | None:
    """The folder that holds the published ``data/...``, or None if it has not been fetched.

    ``CANONBENCH_PUBLISHED_DIR`` comes first, as it is and unverified; CanonbenchError if it holds no ``data/``.
    Contents are not hashed here: a fetched file was, before it got its name.
    """
    chosen = os.environ.get("CANONBENCH_PUBLISHED_DIR")
    if chosen:
        return _chosen_root(Path(chosen).expanduser())
    manifest = manifest or load_manifest()
    folder = published_folder(manifest, cache)
    return folder if is_complete(folder, manifest) else None


def _chosen_root(folder: Path) -> Path:
    try:
        if (folder / "data").is_dir():
            return folder
        if folder.name == "data" and folder.is_dir():
            return folder.parent
        problem = "holds no data/ folder" if folder.is_dir() else "is not a folder"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    raise CanonbenchError(
        f"CANONBENCH_PUBLISHED_DIR={folder} {problem}; point it at a copy of the data set or unset it"
    )


def is_complete(folder: Path, manifest: Manifest) -> bool:
    """Whether the marker names every required file and what it names is there in its recorded size."""
    try:
        sizes: dict[str, int] = json.loads((folder / MARKER).read_bytes())["bytes"]
        return all(file.path in sizes for file in manifest.files if file.required) and all(
            (folder / path).stat().st_size == size for path, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # absent, or not a marker
        return False


def mark_complete(folder: Path, manifest: Manifest, paths: Iterable[str]) -> None:
    """Write the marker for ``paths``, which the caller has verified."""
    sizes = {path: (folder / path).stat().st_size for path in paths}
    part = part_of(folder / MARKER)
    part.write_text(json.dumps({"commit": manifest.commit, "bytes": sizes}, indent=1), encoding="utf-8")
    publish(part, folder / MARKER)


def part_of(target: Path) -> Path:
    """Where a file grows until it is whole and verified; a broken-off transfer leaves it for the next one."""
    return target.with_name(target.name + ".part")


def publish(part: Path, target: Path) -> None:
    """Give a whole file its final name, on disk before anyone can see it."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    part.replace(target)


@contextlib.contextmanager
def exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder against other processes; wait, and say so, while another holds it.

    The operating system frees the lock of a process that dies, however it dies.
    """
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is fetching into {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
