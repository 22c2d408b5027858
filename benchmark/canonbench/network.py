"""The network policy: every use is announced and can be forbidden, and fetched files go to one cache folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs

from canonbench.errors import CanonbenchError

SWITCHES = ("CANONBENCH_OFFLINE", "HF_HUB_OFFLINE")
TRUE = frozenset({"1", "true", "yes", "on"})
"""Values that huggingface_hub treats as true, in lower case; case is ignored."""


def cache_dir() -> Path:
    """Return canonbench's cache folder: ``CANONBENCH_CACHE`` if set, else the platform's cache folder."""
    chosen = os.environ.get("CANONBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("canonbench"))


def to_stderr(line: str) -> None:
    """Write one line to standard error; the default for ``say`` arguments."""
    print(line, file=sys.stderr, flush=True)


def is_offline() -> bool:
    """Whether ``CANONBENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return _forbidden_by() is not None


def require_network(
    what: str, say: Callable[[str], None] = to_stderr, *, instead: str = "", doing: str = "fetching"
) -> None:
    """Announce a use of the network, or raise if it is forbidden. Call before every such use.

    Args:
        what: what is fetched and from where.
        say: receives the announcement.
        instead: what the user can do without a network.
        doing: the verb, if it is not fetching.

    Raises:
        CanonbenchError: ``CANONBENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` is 1, true, yes or on.
    """
    switch = _forbidden_by()
    if switch:
        remedy = f"unset it, or {instead}" if instead else "unset it to allow this"
        raise CanonbenchError(
            f"{doing} {what} needs the network, but {switch}={os.environ[switch]} forbids it; {remedy}"
        )
    say(f"network: {doing} {what}")


def _forbidden_by() -> str | None:
    return next((name for name in SWITCHES if os.environ.get(name, "").strip().lower() in TRUE), None)
