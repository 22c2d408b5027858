"""Fetch models from the Hugging Face hub into its cache, as one folder that is then read like any other.

Everything is fetched first, in one place. The network is therefore used once and announced, pickles are refused before
they are downloaded, and an unreachable hub fails within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models import folders as files
from canonbench.models.checkpoint import Trust
from canonbench.models.load_errors import first_lines
from canonbench.network import is_offline, require_network

TEXT = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]
SAFETENSORS = [files.WEIGHTS, "model-*.safetensors", files.ADAPTER_WEIGHTS, files.DELTA, files.SENSES]
PICKLES = [files.PICKLES, files.ADAPTER_PICKLE]


def fetch(identifier: str, revision: str | None, *, trust: Trust, say: Callable[[str], None]) -> Path:
    """Download a hub model as far as it is not cached; return its local folder, whose name is the commit.

    Raises:
        UsageError: the hub has no such model or revision.
        CanonbenchError: the model is not cached and the network is forbidden or the hub unreachable; access is
            restricted; or the model has no weights that may be read.
    """
    wanted = f"{identifier}@{revision}" if revision else identifier
    if is_offline() and (folder := _cached(identifier, revision)) is not None:
        return folder
    require_network(
        f"model {wanted} from the Hugging Face hub",
        say,
        instead=f"give a local folder (there is none at {identifier!r})",
    )
    try:
        listing = _listing(identifier, revision)
        files.require_weights(
            listing, wanted, allow_pickle=trust.pickle, instead=_look_inside(identifier, revision, listing)
        )
        return _download(identifier, revision, _patterns(listing, trust))
    except CanonbenchError:
        raise
    except Exception as error:  # connection, timeout, server and disk errors of several libraries
        if (folder := _cached(identifier, revision)) is not None:
            say(
                f"the hub cannot be reached ({first_lines(error)}); using the cached {folder.name[:12]} of {identifier}"
            )
            return folder
        raise CanonbenchError(
            f"there is no folder {wanted!r}, and it cannot be fetched from the Hugging Face hub: {first_lines(error)}"
        ) from error


def _listing(identifier: str, revision: str | None) -> list[str]:
    """The file names of a hub model."""

    try:
        info = HfApi().model_info(identifier, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except GatedRepoError as error:
        raise CanonbenchError(
            f"access to {identifier} is restricted: ask for it on the hub, then 'hf auth login'"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UsageError(
            f"no model {identifier!r}: there is no such folder, and the Hugging Face hub has none of that name "
            "(a private one needs 'hf auth login')"
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(f"the hub model {identifier} has no revision {revision!r}") from error
    return [sibling.rfilename for sibling in info.siblings or []]


def _look_inside(identifier: str, revision: str | None, listing: list[str]) -> str:
    """Text to append to a "no weights" message: how to download a model in one of the repository's folders, if any."""
    if not (inside := files.models_inside(listing)):
        return ""
    target, of = identifier.rpartition("/")[2], f" --revision {revision}" if revision else ""
    return (
        f", but its folder {inside[-1]} holds a model or adapter: hf download {identifier}{of} "
        f"--include '{inside[-1]}/*' --local-dir {target}, then give {target}/{inside[-1]}"
    )


def _patterns(listing: list[str], trust: Trust) -> list[str]:
    """Patterns of the files to download: no pickles if there are safetensors, and code only if it may be run."""
    weights = SAFETENSORS if files.has_safetensors(listing) else PICKLES
    return [*TEXT, *weights, *(["*.py"] if trust.remote_code else [])]


def _download(identifier: str, revision: str | None, patterns: list[str]) -> Path:

    return Path(snapshot_download(identifier, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]))


def _cached(identifier: str, revision: str | None) -> Path | None:
    """The folder of a model in the hub's cache, None if it is not there; complete as far as the cache can tell."""

    patterns = [*TEXT, *SAFETENSORS]
    try:
        folder = snapshot_download(
            identifier, revision=revision, local_files_only=True, allow_patterns=patterns, ignore_patterns=["*/*"]
        )
    except (OSError, ValueError):  # not cached, or not a valid name
        return None
    return Path(folder)
