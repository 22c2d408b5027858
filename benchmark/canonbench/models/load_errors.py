"""Turn exceptions of the model libraries into one line that names the model and what to do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError

from canonbench.errors import CanonbenchError

LONGEST = 300
"""Characters of a library's message that are kept."""


@contextmanager
def one_line(what: str, hint: str = "") -> Iterator[None]:
    """Silence transformers and turn any exception raised inside into a CanonbenchError about ``what``.

    ``hint`` is appended to the library's own message.
    """

    try:
        with quiet_transformers():
            yield
    except CanonbenchError:
        raise
    except SafetensorError as error:
        raise CanonbenchError(
            f"cannot load {what}: a safetensors file is corrupt or truncated ({error}); copy it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise CanonbenchError(
            f"cannot load {what}: its pickle is corrupt, or holds code, which is never run; get it as safetensors"
        ) from error
    except MemoryError as error:
        raise CanonbenchError(f"cannot load {what}: out of memory") from error
    except Exception as error:  # the libraries raise many types here
        raise CanonbenchError(f"cannot load {what}: {_reason(error).rstrip('.')}{hint}") from error


def _reason(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "it comes with its own Python code; pass --trust-remote-code to run it, if you trust it"
    return first_lines(error)


def first_lines(error: BaseException) -> str:
    """The first line of a message, plus the next one while it ends in a colon, cut to LONGEST characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = lines.pop(0)
    while text.endswith(":") and lines:
        text += f" {lines.pop(0)}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Turn off transformers' progress bars and warnings; canonbench checks and reports what matters itself."""
    from transformers.utils import logging  # noqa: PLC0415  (slow to import)

    transformers_logging: Any = logging
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
