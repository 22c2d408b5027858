"""The published data set: its manifest (path, size, hashes and rows of every file at one pinned commit) and its folder.

A file gets its final name only after it is verified, and ``complete.json`` is written last, so every file it names was
stored. The row counts come from the manifest and do not need the data set itself. The module imports neither torch nor
an HTTP client, so it is cheap to import.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

from filelock import FileLock, Timeout
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from canonbench.errors import CanonbenchError
from canonbench.files import data_root
from canonbench.network import cache_dir
from canonbench.records import read_json, validated
from canonbench.suite.spec import read_spec

MARKER = "complete.json"


def published_folder(manifest: Manifest, cache: Path | None = None) -> Path:
    """Return the cache folder for the manifest's commit of the data set, whether or not it has been fetched."""
    return (cache or cache_dir()) / "published" / manifest.commit[:12]


def published_root(*, cache: Path | None = None, manifest: Manifest | None = None) -> Path | None:
    """Return the folder that holds the published ``data/...``, or None if it has not been fetched.

    ``CANONBENCH_PUBLISHED_DIR`` comes first and is used unverified. Contents are not hashed here, because a fetched
    file is hashed before it gets its final name.

    Raises:
        CanonbenchError: ``CANONBENCH_PUBLISHED_DIR`` holds no ``data/``.
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
    """Whether the marker names every required file, and every file it names exists with its recorded size."""
    try:
        sizes: dict[str, int] = json.loads((folder / MARKER).read_bytes())["bytes"]
        return all(file.path in sizes for file in manifest.files if file.required) and all(
            (folder / path).stat().st_size == size for path, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # absent, or not a marker
        return False


def mark_complete(folder: Path, manifest: Manifest, paths: Iterable[str]) -> None:
    """Write the completeness marker for ``paths``, which the caller has verified."""
    sizes = {path: (folder / path).stat().st_size for path in paths}
    part = part_of(folder / MARKER)
    part.write_text(json.dumps({"commit": manifest.commit, "bytes": sizes}, indent=1), encoding="utf-8")
    publish(part, folder / MARKER)


def part_of(target: Path) -> Path:
    """Return the temporary path of a file until it is complete and verified; a later transfer resumes from it."""
    return target.with_name(target.name + ".part")


def publish(part: Path, target: Path) -> None:
    """Sync a complete file to disk, then give it its final name."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    part.replace(target)


@contextlib.contextmanager
def exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock the folder against other processes; if another holds it, say so and wait.

    The operating system releases the lock when a process dies, for any reason.
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


OPTIONAL_GROUPS = frozenset({"openwebtext-500", "duplicates"})
"""Groups that a complete copy may lack: the two large general texts and the files that repeat openwebtext-100."""
_CHUNK = 1 << 20


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or "\\" in path or not parts or ".." in parts:
        raise ValueError("must be a relative path that stays inside the data set")
    return path


def _template(url: str) -> str:
    try:
        url.format(repository="", commit="", path="")
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise ValueError("must have no fields but {repository}, {commit} and {path}") from error
    return url


class PublishedFile(BaseModel):
    """One file of the data set. ``bytes``, ``sha256`` and ``rows`` are None if unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_inside)]
    """Relative to the data set's root, with forward slashes."""
    group: str
    """``tasks``, ``openwebtext-100``, ``openwebtext-500`` or ``duplicates`` (of openwebtext-100)."""
    bytes: int | None = Field(ge=0)
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    git_blob: str = Field(pattern=r"^[0-9a-f]{40}$")
    """SHA-1 of ``blob {size}\\0`` and the contents: git's id of the file."""
    rows: int | None = Field(ge=0)

    @property
    def required(self) -> bool:
        """Whether a copy without this file is incomplete."""
        return self.group not in OPTIONAL_GROUPS


class Manifest(BaseModel):
    """The data set's repository, pinned commit, URL template and files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    url: Annotated[str, AfterValidator(_template)]
    """Template with the fields ``{repository}``, ``{commit}`` and ``{path}``."""
    files: tuple[PublishedFile, ...]

    def url_of(self, file: PublishedFile, base_url: str | None = None) -> str:
        """Return the file's URL, at ``base_url`` (a mirror with the same layout) if given."""
        if base_url is not None:
            return f"{base_url.rstrip('/')}/{file.path}"
        return self.url.format(repository=self.repository, commit=self.commit, path=file.path)


def load_manifest(path: Path | None = None) -> Manifest:
    """Read the manifest at ``path`` (default: the packaged one); CanonbenchError if it cannot be read or is invalid."""
    path = path or data_root() / "published" / "manifest.json"
    return validated(Manifest, read_json(path), f"the manifest {path}")


def git_blob_and_sha256(path: Path) -> tuple[str, str]:
    """Compute a file's git blob id and SHA-256, as hex, in one pass."""
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            blob.update(chunk)
            sha256.update(chunk)
    return blob.hexdigest(), sha256.hexdigest()


def mismatch(path: Path, file: PublishedFile) -> str | None:
    """Say how the contents at ``path`` differ from ``file``; None if they match."""
    if not path.is_file():
        return "there is no such file"
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"{size} bytes instead of {file.bytes}"
    blob, sha256 = git_blob_and_sha256(path)
    if blob != file.git_blob:
        return f"git blob {blob} instead of {file.git_blob}"
    if file.sha256 is not None and sha256 != file.sha256:
        return f"sha256 {sha256} instead of {file.sha256}"
    return None


PARTS = ("canonical", "evaluation", "hard_negatives")


class Counts(NamedTuple):
    """Row counts of one version of the data set."""

    version: str
    rows: dict[tuple[str, str, str], int]
    """Number of rows by task, split and part."""


@cache
def published_counts() -> Counts:
    """Return the row counts of the version in the packaged manifest; CanonbenchError if packaged files are damaged."""
    spec = read_spec(data_root() / "published" / "suite.yaml")
    rows = {file.path: file.rows for file in load_manifest().files}
    found = {
        (name, split, part): count
        for name, task in spec.tasks.items()
        for split in ("val", "test")
        for part in PARTS
        if (of_split := getattr(task, split)) is not None
        and (count := rows.get(getattr(of_split, part).path)) is not None
    }
    return Counts(spec.version, found)
