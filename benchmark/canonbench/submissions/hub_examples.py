"""Fetch per-example values that a row keeps on the Hugging Face hub instead of in the repository.

The file also turns the exceptions of the hub's library into one line that says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash
from canonbench.models import first_lines
from canonbench.network import require_network, to_stderr
from canonbench.results import ExamplesReference


@contextmanager
def one_line_of_the_hub(repo: str, doing: str) -> Iterator[None]:
    """Turn an exception of the hub's library, raised while ``doing`` something with ``repo``, into one line.

    Raises:
        UsageError: the hub has no such repository or revision, or the name is not valid.
        CanonbenchError: the hub refused or cannot be reached, or the disk is full.
    """

    misnamed = f"{repo!r} is no name of a repository on the hub, such as OWNER/NAME"
    if repo.count("/") != 1:  # the library would look for a name without an owner in the user's own account
        raise UsageError(misnamed)
    try:
        yield
    except CanonbenchError:
        raise
    except HFValidationError as error:
        raise UsageError(misnamed) from error
    except GatedRepoError as error:
        raise CanonbenchError(f"access to {repo} is restricted: ask for it on the hub, then 'hf auth login'") from error
    except RepositoryNotFoundError as error:
        raise UsageError(f"the hub has no {repo}, or it is private: log in with 'hf auth login'") from error
    except RevisionNotFoundError as error:
        raise UsageError(f"{repo} has no such revision") from error
    except HfHubHTTPError as error:
        raise CanonbenchError(f"{doing} {repo} was refused: {_refusal(error.response.status_code, error)}") from error
    except Exception as error:  # connection, timeout and disk errors of several libraries
        raise CanonbenchError(f"{doing} {repo} failed: {first_lines(error)}") from error


def _refusal(status: int, error: Exception) -> str:
    match status:
        case 401:
            return "log in with 'hf auth login'"
        case 403:
            return "this account, or its token, may not write there"
        case 412:
            return "it changed meanwhile; run the same command again"
        case _:
            return first_lines(error)


ADDRESS = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{7,40})/(?P<path>\S+\.parquet)")
"""Pattern of an address on the hub; its revision is a commit, not a branch, because the content must not change."""


def require_address(text: str) -> str:
    """Return the address; UsageError if it is not valid."""
    if not ADDRESS.fullmatch(text):
        raise UsageError(f"{text!r} is no address of examples: hf://datasets/OWNER/NAME@COMMIT/PATH.parquet")
    return text


def fetch_examples(examples: ExamplesReference, say: Callable[[str], None] = to_stderr) -> Path:
    """Fetch the file into the hub's cache, check its hash against the row, and return its path.

    Raises:
        UsageError: the address is not valid, or the hub has no such data set or revision.
        CanonbenchError: the hub cannot be reached, or the file has another hash.
    """
    match = ADDRESS.fullmatch(require_address(examples.file))
    assert match is not None
    require_network(f"{examples.file} from the Hugging Face hub", say)
    with one_line_of_the_hub(match["repo"], "fetching"):
        found = hf_hub_download(match["repo"], match["path"], repo_type="dataset", revision=match["revision"])
    if (digest := file_hash(Path(found))) != examples.sha256:
        raise CanonbenchError(
            f"{examples.file} has the SHA-256 {digest[:12]}..., the row names {examples.sha256[:12]}..."
        )
    return Path(found)
