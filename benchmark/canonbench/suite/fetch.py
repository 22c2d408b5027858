"""Fetch the published data set over HTTPS or import it from a local copy; every file is verified either way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from canonbench.errors import CanonbenchError, UsageError
from canonbench.network import require_network, to_stderr
from canonbench.suite import download
from canonbench.suite.published import (
    Manifest,
    PublishedFile,
    exclusive,
    is_complete,
    load_manifest,
    mark_complete,
    mismatch,
    part_of,
    publish,
    published_folder,
    published_root,
)

__all__ = ["fetch_published", "published_root"]

LARGE = "openwebtext-500"


def fetch_published(
    *,
    source: Path | None = None,
    cache: Path | None = None,
    without_openwebtext_500: bool = False,
    base_url: str | None = None,
    retries: int = 4,
    backoff: float = 1.0,
    timeout: float = 30.0,
    progress: bool | None = None,
    say: Callable[[str], None] = to_stderr,
    manifest: Manifest | None = None,
) -> Path:
    """Fetch and verify the published data set; return the folder that then holds ``data/...``.

    Files that are already in the folder and verify are not fetched again; if nothing is missing, neither the network
    nor a writable folder is needed. Any number of processes may call this at the same time, and any may be killed.

    Args:
        source: a local copy to import from instead (the folder that holds ``data``, or ``data`` itself).
            It may lack openwebtext-500; a note then says so.
        cache: the cache folder; default: ``CANONBENCH_CACHE`` or the platform's.
        without_openwebtext_500: leave out the two large general texts.
        base_url: a mirror to use instead of the manifest's address.
        retries: attempts per file after the first, for failures that a retry may fix (5xx, timeout, broken connection).
        backoff: seconds before the first retry; doubles each time, up to 30.
        timeout: seconds without a connection or data after which a transfer counts as broken.
        progress: whether to draw a progress bar instead of one line per file; default: if standard error is a terminal.
        say: receives notes, one line each.
        manifest: the files to fetch; default: the packaged manifest.

    Raises:
        CanonbenchError: a file is missing, refused or differs from the manifest, the network is forbidden or broken,
            or the cache folder cannot be written.
        UsageError: ``source`` and ``base_url`` are both given.
    """
    if source is not None and base_url is not None:
        raise UsageError("a local copy and a base URL exclude each other; give one")
    manifest = manifest or load_manifest()
    folder = published_folder(manifest, cache)
    wanted = [file for file in manifest.files if not (without_openwebtext_500 and file.group == LARGE)]
    try:
        state = _survey(folder, manifest)
        if is_complete(folder, manifest) and not state.damaged and state.verified.issuperset(wanted):
            say(f"published data: all {len(wanted)} files are already in {folder}, verified")
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder, say):
            missing = _repair(folder, manifest, wanted, say)
            if source is not None:
                _import(source, folder, missing, say)
            elif missing:  # else another process fetched them while this one waited
                queue = [download.Wanted(manifest.url_of(file, base_url), folder / file.path, file) for file in missing]
                _announce(queue[0].url, len(queue), say)
                policy = download.RetryPolicy(retries, backoff, timeout)
                download.download_files(queue, policy=policy, say=say, progress=progress)
            verified = _survey(folder, manifest).verified
            mark_complete(folder, manifest, sorted(file.path for file in verified))
    except OSError as error:
        reason = f"{error.strerror} ({error.filename})" if error.filename else error.strerror or str(error)
        raise CanonbenchError(
            f"cannot store the published data in {folder}: {reason}; "
            "mend that, or set CANONBENCH_CACHE to a folder with room that can be written"
        ) from error
    say(f"published data: {len(verified)} files in {folder}, verified")
    return folder


class _State(NamedTuple):
    """The manifest's files that exist in a folder: those that verify and those that do not."""

    verified: frozenset[PublishedFile]
    damaged: frozenset[PublishedFile]


def _survey(folder: Path, manifest: Manifest) -> _State:
    there = frozenset(file for file in manifest.files if (folder / file.path).exists())
    verified = frozenset(file for file in there if mismatch(folder / file.path, file) is None)
    return _State(verified, there - verified)


def _repair(
    folder: Path, manifest: Manifest, wanted: list[PublishedFile], say: Callable[[str], None]
) -> list[PublishedFile]:
    """Remove damaged files, after which the folder no longer counts as complete; return the wanted files to fetch."""
    state = _survey(folder, manifest)
    for file in state.damaged:
        say(f"{folder / file.path} is damaged and removed: {mismatch(folder / file.path, file)}")
        (folder / file.path).unlink()
    return [file for file in wanted if file not in state.verified]


def _announce(url: str, count: int, say: Callable[[str], None]) -> None:
    require_network(
        f"the published data set ({count} files) from {urlsplit(url).netloc}",
        say,
        instead="import a local copy with `canonbench data fetch published --from DIR`",
    )


def _import(source: Path, folder: Path, missing: list[PublishedFile], say: Callable[[str], None]) -> None:
    """Copy the missing files from a local copy; the copy is verified, not its source."""
    if not source.is_dir():
        raise CanonbenchError(f"{source} is not a folder; give the one that holds the published data/")
    origins = {file: _origin(source, file) for file in missing}
    absent = [file for file, origin in origins.items() if origin is None]
    needed = [file.path for file in absent if file.required]
    if needed:
        raise CanonbenchError(f"{source} lacks {len(needed)} files of the published data set: {_listed(needed)}")
    for file, origin in origins.items():
        if origin is not None:
            _copy_verified(origin, folder / file.path, file)
    large = [file.path for file in absent if file.group == LARGE]
    if large:
        say(f"note: {LARGE} is not in {source} ({', '.join(large)}): openwebtext-100 will be the general text")


def _origin(source: Path, file: PublishedFile) -> Path | None:
    """Return the file's path in the local copy, where ``source`` holds ``data`` or is ``data``; None if absent."""
    inside_data = PurePosixPath(*PurePosixPath(file.path).parts[1:])
    return next((path for path in (source / file.path, source / inside_data) if path.is_file()), None)


def _copy_verified(origin: Path, target: Path, file: PublishedFile) -> None:
    part = part_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin, part)
    problem = mismatch(part, file)
    if problem is not None:
        part.unlink()
        raise CanonbenchError(f"{origin} is not the published file: {problem}; it was not imported")
    publish(part, target)


def _listed(paths: list[str], shown: int = 8) -> str:
    rest = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(paths[:shown]) + rest
