"""An ensemble's name for people elsewhere: without places on this machine."""

from __future__ import annotations

from pathlib import PurePath

from canonbench.models.ensemble_name import PREFIX
from canonbench.models.source import HUB_ID


def portable(name: str, *, large: str | None = None) -> str:
    """The name of an ensemble with hub ids as they are, and of every path only its end.

    Args:
        name: as rows have it.
        large: what to call the large model instead.
    """
    first, *others = name.removeprefix(PREFIX).split(",")
    return PREFIX + ",".join([large or _short(first), *map(_short, others)])


def _short(item: str) -> str:
    option, equals, value = item.rpartition("=")
    is_path = value.startswith((".", "~")) or not HUB_ID.fullmatch(value)
    return f"{option}{equals}{PurePath(value).name if is_path else value}"
