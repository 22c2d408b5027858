"""Parse and format ensemble names: ``ensemble:LARGE,SMALL_EDIT[,base=SMALL][,beta=NUMBER|auto|auto@LEAGUE]``.

``portable`` removes local paths from a name, so that it can be published.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeGuard

from canonbench.errors import UsageError, unknown_name

PREFIX = "ensemble:"
FORM = f"{PREFIX}LARGE,SMALL_EDIT[,base=SMALL][,beta=NUMBER|auto|auto@LEAGUE]"
AUTO = "auto"
OPTIONS = ("base", "beta")


@dataclass(frozen=True)
class EnsembleName:
    """The parts of an ensemble, each in the form that ``--model`` accepts."""

    large: str
    small: str
    """The small model after its edit."""
    base: str | None = None
    """The small model before its edit; None for the base named by the edit."""
    beta: float | None = 1.0
    """The weight β; None if it is still to be chosen on the val split."""
    league: str | None = None
    """The league for which β is chosen; None for the tightest."""

    def __str__(self) -> str:
        """Return the name in the form that ``parse_ensemble`` reads."""
        base = "" if self.base is None else f",base={self.base}"
        auto = AUTO if self.league is None else f"{AUTO}@{self.league}"
        return f"{PREFIX}{self.large},{self.small}{base},beta={auto if self.beta is None else f'{self.beta:g}'}"


def is_ensemble(model: Any) -> TypeGuard[str]:
    """Whether ``model`` is the name of an ensemble."""
    return isinstance(model, str) and model.startswith(PREFIX)


def parse_ensemble(name: str) -> EnsembleName:
    """Parse an ensemble's name; β defaults to 1.

    Raises:
        UsageError: it does not have exactly two parts, a part is itself an ensemble, an option is unknown, or β is not
            a number.
    """
    items = [item.strip() for item in name.removeprefix(PREFIX).split(",")]
    parts = [item for item in items if "=" not in item]
    if len(parts) != 2 or items[:2] != parts or not all(parts):
        raise UsageError(f"{name!r} is no ensemble of two models: it is written {FORM}")
    options: dict[str, str] = {}
    for item in items[2:]:
        key, _, value = item.partition("=")
        if key not in OPTIONS:
            raise unknown_name("option", key, OPTIONS, where="of an ensemble")
        if key in options or not value:
            raise UsageError(f"{name!r}: {key} must be given once, with a value; an ensemble is written {FORM}")
        options[key] = value
    for part in (*parts, options.get("base", "")):
        require_plain(part, name)
    large, small = parts
    text = options.get("beta", "1")
    kind, _, league = text.partition("@")
    beta = None if kind == AUTO else _number(text, name)
    return EnsembleName(large, small, options.get("base"), beta, league or None)


def require_plain(part: str, name: str) -> None:
    """Raise UsageError if a part is itself an ensemble."""
    if is_ensemble(part):
        raise UsageError(f"{name!r}: a part of an ensemble cannot be an ensemble itself")


def _number(text: str, name: str) -> float:
    try:
        beta = float(text)
    except ValueError:
        beta = math.nan
    if not (math.isfinite(beta) and beta >= 0):
        raise UsageError(f"{name!r}: beta must be a number from 0 on, {AUTO} or {AUTO}@LEAGUE, not {text!r}")
    return beta


def portable(name: str, *, large: str | None = None) -> str:
    """Return an ensemble's name with hub ids unchanged and each path reduced to its last component.

    Args:
        name: the name as it appears in rows.
        large: another name for the large model.
    """
    first, *others = name.removeprefix(PREFIX).split(",")
    return PREFIX + ",".join([large or _short(first), *map(_short, others)])


def _short(item: str) -> str:
    option, equals, value = item.rpartition("=")
    is_path = value.startswith((".", "~")) or not HUB_ID.fullmatch(value)
    return f"{option}{equals}{PurePath(value).name if is_path else value}"


Kind = Literal["folder", "hub", "peft", "edit", "gguf", "demo", "ensemble", "memory"]


HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
