"""Whatever the hub's library raises, as one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.trouble import first_lines


@contextmanager
def one_line_of_the_hub(repo: str, doing: str) -> Iterator[None]:
    """Turn an exception of the hub's library, raised while ``doing`` something with ``repo``, into one line.

    Raises:
        UsageError: the hub has no such repository or revision, or could not have one.
        CanonbenchError: it refused, or cannot be reached, or the disk is full.
    """
    from huggingface_hub.errors import (  # noqa: PLC0415  (slow to import)
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    misnamed = f"{repo!r} is no name of a repository on the hub, such as OWNER/NAME"
    if repo.count("/") != 1:  # the library would take a name without an owner for one of this account's
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
