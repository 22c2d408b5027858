"""Protocols: the choices under which two rows may be compared (docs/reference/protocol.md#2-tasks, #3-hard-negatives,
#4-leagues, #7-departures).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.scoring.leagues import LEAGUES


@dataclass(frozen=True)
class Protocol:
    """The choices of an evaluation. Rows store its name; rows with different names are never ranked together."""

    name: str
    leagues: Mapping[str, float] = field(default_factory=lambda: dict(LEAGUES))
    """Label to ε: in league iff loss ratio <= 1 + ε."""
    hard_negatives: Literal["own", "val"] = "own"
    """Which split's hard negatives are scored: the evaluated split's own, or always val's."""
    general: Literal["split", "all"] = "split"
    """Which part of the general text G is scored: the split's own, or all of it for both splits."""
    selection: Literal["best", "last"] = "best"
    """Which candidate in league an edit run takes on val: the one of highest success, or the last one."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Task name to δ in nats, where it differs from the task's own."""

    def threshold(self, task: str, default: float) -> float:
        """Return δ for ``task`` in nats: the protocol's own, else ``default``."""
        return self.thresholds.get(task, default)


PROTOCOLS: dict[str, Protocol] = {
    chosen.name: chosen
    for chosen in (
        Protocol("canonbench-1"),
        Protocol("hewitt2024", hard_negatives="val", general="all", selection="last"),
    )
}


def protocol(name: str) -> Protocol:
    """Return the standard protocol called ``name``; UsageError with a "did you mean" if there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def protocol_from_mapping(mapping: Mapping[str, Any]) -> Protocol:
    """Make a user's protocol from ``name``, the ``base`` it starts from (default canonbench-1), and overrides.

    Overrides are ``leagues`` (a list of ε), ``hard_negatives``, ``general``, ``selection`` and ``thresholds`` (task to
    nats). A digest of the content is appended to the name, so that two different protocols with the same name are never
    ranked together.

    Raises:
        UsageError: a key or base is unknown.
        CanonbenchError: a value is invalid.
    """
    if "bootstrap_resamples" in mapping:
        raise UsageError("protocol: leave bootstrap_resamples out; intervals are not resampled any more")
    for key in mapping:
        if key not in {"name", "base", *_PARSERS}:
            raise unknown_name("protocol key", str(key), ("name", "base", *_PARSERS))
    name = mapping.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise CanonbenchError("protocol: give it a name, e.g. name: my-thresholds")
    base = protocol(str(mapping.get("base", "canonbench-1")))
    overrides = {key: parse(mapping[key]) for key, parse in _PARSERS.items() if key in mapping}
    return replace(base, name=f"{name.strip()}@{_digest(base.name, overrides)}", **overrides)


def _digest(base: str, overrides: Mapping[str, Any]) -> str:
    content = json.dumps([base, overrides], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _number(what: str, value: object) -> float:
    # YAML 1.1 reads 1e-3 (no dot) as text, so numeric text is accepted.
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CanonbenchError(f"protocol: {what} must be a finite number, got {value!r}")
    return number


def read_leagues(value: object) -> dict[str, float]:
    """Map labels to ε from a list of ε; CanonbenchError if it is not such a list or an ε is not positive."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise CanonbenchError(f"protocol: leagues must be a list of ε such as [1e-3, 1e-4], got {value!r}")
    standard = {epsilon: label for label, epsilon in LEAGUES.items()}
    epsilons = {item: _number("a league's ε", item) for item in value}
    for item, epsilon in epsilons.items():
        if epsilon <= 0:
            raise CanonbenchError(f"protocol: a league's ε must be positive, got {item!r}")
    return {standard.get(epsilon, str(item)): epsilon for item, epsilon in epsilons.items()}


def _thresholds(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise CanonbenchError(f"protocol: thresholds must map task names to nats, got {value!r}")
    return {str(task): _number(f"the threshold of {task}", nats) for task, nats in value.items()}


def _one_of(key: str, *choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise unknown_name("value", str(value), choices, where=f"of {key} in the protocol")
        return str(value)

    return parse


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "leagues": read_leagues,
    "hard_negatives": _one_of("hard_negatives", "own", "val"),
    "general": _one_of("general", "split", "all"),
    "selection": _one_of("selection", "best", "last"),
    "thresholds": _thresholds,
}
