"""What the published data set consists of: every file's path, size and hashes at one pinned commit."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from canonbench.records import read_json, validated
from canonbench.suite.paths import data_root

OPTIONAL_GROUPS = frozenset({"openwebtext-500", "duplicates"})
"""What a complete copy may lack: the two large general texts, and the files that repeat openwebtext-100."""

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
    """One file of the data set. ``bytes``, ``sha256`` and ``rows`` are None where they are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_inside)]
    """Relative to the data set's root, with forward slashes."""
    group: str
    """``tasks``, ``openwebtext-100``, ``openwebtext-500`` or ``duplicates`` (of openwebtext-100)."""
    bytes: int | None = Field(ge=0)
    sha256: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    git_blob: str = Field(pattern=r"^[0-9a-f]{40}$")
    """SHA-1 of ``blob {size}\\0`` and the contents: the id under which git stores the file."""
    rows: int | None = Field(ge=0)

    @property
    def required(self) -> bool:
        """Whether a copy without this file is incomplete."""
        return self.group not in OPTIONAL_GROUPS


class Manifest(BaseModel):
    """The data set: where it is published, at which commit, and its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    url: Annotated[str, AfterValidator(_template)]
    """Template with the fields ``{repository}``, ``{commit}`` and ``{path}``."""
    files: tuple[PublishedFile, ...]

    def url_of(self, file: PublishedFile, base_url: str | None = None) -> str:
        """The file's address, at ``base_url`` (a mirror that lays the files out alike) if one is given."""
        if base_url is not None:
            return f"{base_url.rstrip('/')}/{file.path}"
        return self.url.format(repository=self.repository, commit=self.commit, path=file.path)


def load_manifest(path: Path | None = None) -> Manifest:
    """The manifest at ``path``, by default the packaged one; CanonbenchError if it cannot be read or is not valid."""
    path = path or data_root() / "published" / "manifest.json"
    return validated(Manifest, read_json(path), f"the manifest {path}")


def git_blob_and_sha256(path: Path) -> tuple[str, str]:
    """The file's git blob id and SHA-256, as hex, from one pass over it."""
    blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            blob.update(chunk)
            sha256.update(chunk)
    return blob.hexdigest(), sha256.hexdigest()


def mismatch(path: Path, file: PublishedFile) -> str | None:
    """How the contents at ``path`` differ from ``file``, in words; None if they are exactly it."""
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
