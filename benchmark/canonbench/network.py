"""The network policy in one place: every use is announced and can be forbidden, what is fetched has one folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs

from canonbench.errors import CanonbenchError

SWITCHES = ("CANONBENCH_OFFLINE", "HF_HUB_OFFLINE")
TRUE = frozenset({"1", "true", "yes", "on"})
"""What huggingface_hub counts as true, in any case."""


def cache_dir() -> Path:
    """The folder of everything canonbench fetches: ``CANONBENCH_CACHE``, else the platform's cache folder."""
    chosen = os.environ.get("CANONBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("canonbench"))


def to_stderr(line: str) -> None:
    """Write one line to standard error: where notes go unless a caller passes its own ``say``."""
    print(line, file=sys.stderr, flush=True)


def is_offline() -> bool:
    """Whether ``CANONBENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return _forbidden_by() is not None


def require_network(
    what: str, say: Callable[[str], None] = to_stderr, *, instead: str = "", doing: str = "fetching"
) -> None:
    """Announce that ``what`` (a thing and where it comes from) is about to be fetched; called before every such use.

    ``instead`` is what a person without a network can do; ``doing`` is for what is not fetching. Raises CanonbenchError
    where ``CANONBENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` is 1, true, yes or on.
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
