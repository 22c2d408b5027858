"""Push rows and runs to a data-set repository of the Hugging Face hub and pull them, only on explicit request."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from canonbench.errors import CanonbenchError
from canonbench.files import file_hash, replacing, written
from canonbench.network import require_network, to_stderr
from canonbench.results import ExamplesReference
from canonbench.submissions.hub_examples import one_line_of_the_hub
from canonbench.submissions.hub_files import EXAMPLES, PATTERNS, PLACE, RUN_FILES, Parcel, check_rows, check_run

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile


class Pushed(NamedTuple):
    """The result of a push."""

    commit: str
    """The repository's newest commit: this push, unless there was nothing to send."""
    address: str
    """URL of the pushed files."""
    sent: list[str]
    """Files that were new or different in the repository."""
    removed: list[str]
    """Files of the previous run that this one does not have."""


class Pulled(NamedTuple):
    """The result of a pull."""

    commit: str
    new: list[Path]
    """Files written."""
    unchanged: list[Path]
    """Files that were already here."""


def push(
    parcel: Parcel, repo: str, *, public: bool = False, replace: bool = False, say: Callable[[str], None] = to_stderr
) -> Pushed:
    """Push a parcel in one commit; the repository is created if it does not exist.

    Args:
        parcel: the result of ``pack``.
        repo: OWNER/NAME of a data set.
        public: make a new repository public; private by default.
        replace: replace files of the same name; the repository's history keeps them.
        say: receives notes.

    Raises:
        UsageError: the name of the repository is not valid.
        CanonbenchError: other content has that name already, or the hub refused or cannot be reached.
    """
    require_network(f"{len(parcel.files)} files to data set {repo} of the Hugging Face hub", say, doing="sending")
    with one_line_of_the_hub(repo, "sending to"):
        api = HfApi()
        head = _head(api, repo, public, say)
        there = _there(api, repo, parcel, head)
        send = {place: path for place, path in parcel.files.items() if not _is_there(path, there.get(place))}
        remove = sorted(there.keys() - parcel.files.keys())
        taken = sorted((there.keys() & send.keys()) | set(remove))
        if taken and not replace:
            raise CanonbenchError(
                f"{repo} has another {taken[0]}; call yours something else (--as NAME), or put it in its place "
                "with --replace (the repository's history keeps the old one)"
            )
        if not send and not remove:
            return Pushed(head, f"{api.endpoint}/datasets/{repo}/commit/{head}", [], [])
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(place, str(path)) for place, path in send.items()),
                *(CommitOperationDelete(place) for place in remove),
            ],
            commit_message=f"canonbench: {parcel.folder or ', '.join(send)}",
            repo_type="dataset",
            parent_commit=head,
        )
        return Pushed(commit.oid, commit.commit_url, list(send), remove)


def _head(api: HfApi, repo: str, public: bool, say: Callable[[str], None]) -> str:
    """Return the current commit of the repository, which is created if it does not exist."""

    try:
        head = api.dataset_info(repo).sha
    except GatedRepoError:  # it exists, but this account has no access
        raise
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type="dataset", private=not public)
        say(f"made the {'public' if public else 'private'} data set {repo}")
        head = api.dataset_info(repo).sha
    assert head is not None, "a repository has a first commit"
    return head


def _there(api: HfApi, repo: str, parcel: Parcel, head: str) -> dict[str, RepoFile]:
    """List the repository's files at the parcel's place."""

    places = [*parcel.files, *(f"{parcel.folder}/{name}" for name in RUN_FILES if parcel.folder)]
    found = api.get_paths_info(repo, sorted(set(places)), repo_type="dataset", revision=head)
    return {each.path: each for each in found if isinstance(each, RepoFile)}


def _is_there(path: Path, there: RepoFile | None) -> bool:

    if there is None:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == file_hash(path)
    return there.blob_id == git_hash(path.read_bytes())


def examples_on_hub(parcel: Parcel, repo: str, commit: str) -> ExamplesReference | None:
    """Return the permanent address of a pushed run's examples, for a row; None if the parcel holds rows."""
    place = f"{parcel.folder}/{EXAMPLES}"
    if place not in parcel.files:
        return None
    sha256 = file_hash(parcel.files[place])
    return ExamplesReference(file=f"hf://datasets/{repo}@{commit}/{place}", sha256=sha256)


def pull(
    repo: str,
    to: Path,
    *,
    revision: str | None = None,
    replace: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> Pulled:
    """Pull and check all rows and runs of a repository, into ``to/rows`` and ``to/runs``; other files there stay.

    Args:
        repo: OWNER/NAME of a data set.
        to: a folder, created if necessary.
        revision: a branch, tag or commit; by default the newest.
        replace: replace local files that differ.
        say: receives notes.

    Raises:
        UsageError: the hub has no such data set or revision.
        CanonbenchError: the data set has no rows or runs, or damaged ones, or a local file differs; nothing is written.
    """
    require_network(f"rows and runs of data set {repo} from the Hugging Face hub", say)
    with one_line_of_the_hub(repo, "fetching"):
        snapshot = Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=PATTERNS))
    found = {
        place: path for path in snapshot.rglob("*") if PLACE.fullmatch(place := path.relative_to(snapshot).as_posix())
    }
    if not found:
        raise CanonbenchError(f"{repo} holds neither rows nor runs of canonbench")
    _check(snapshot, found)
    new = {place: path for place, path in found.items() if not _is_here(path, to / place)}
    if not replace and (taken := sorted(place for place in new if (to / place).exists())):
        raise CanonbenchError(f"{to / taken[0]} is not what {repo} has; --replace it, or give another folder (--to)")
    for place in sorted(new, key=lambda place: (place.endswith("/row.json"), place)):
        _copy(new[place], to / place)
    unchanged = sorted(to / place for place in found.keys() - new.keys())
    return Pulled(snapshot.name, sorted(to / place for place in new), unchanged)


def _check(snapshot: Path, found: dict[str, Path]) -> None:
    for place, path in sorted(found.items()):
        if place.startswith("rows/"):
            check_rows(path)
    for folder in sorted({place.rpartition("/")[0] for place in found if place.startswith("runs/")}):
        check_run(snapshot / folder)


def _is_here(path: Path, target: Path) -> bool:
    return target.is_file() and target.read_bytes() == path.read_bytes()


def _copy(path: Path, target: Path) -> None:
    with written(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        shutil.copyfile(path, part)
