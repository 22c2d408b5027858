"""Which candidate an edit run takes in each league (docs/reference/protocol.md#5-selection; ``hewitt2024``: as
released).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from canonbench.scoring.protocol import Protocol

UNEDITED = 0
"""The number of the unedited model; candidates count from 1."""


class Judged(NamedTuple):
    """What the choice of a candidate rests on."""

    number: int
    ratio: float
    """Loss ratio on G."""
    success: float
    """Success rate on E in percent; of a candidate in no league it is never asked."""


def in_league(ratio: float, epsilon: float, *, strict: bool = False) -> bool:
    """ratio <= 1 + ε; below it where ``strict``."""
    return ratio < 1 + epsilon if strict else ratio <= 1 + epsilon


def choose_on_val(candidates: Sequence[Judged], protocol: Protocol) -> dict[str, int]:
    """Per league the candidate in it with the highest success, the earlier of equals; none in it: the unedited model.

    Whoever is in a tighter league is in all looser ones, so results never fall as leagues widen. Under ``last`` it is
    the last candidate strictly below the cutoff.
    """
    last = protocol.selection == "last"
    chosen = {}
    for label, epsilon in protocol.leagues.items():
        inside = [each for each in candidates if in_league(each.ratio, epsilon, strict=last)]
        best = max(inside, key=lambda each: each.number if last else (each.success, -each.number), default=None)
        chosen[label] = best.number if best else UNEDITED
    return chosen


def choose_on_test(ratios: Mapping[int, float], caps: Mapping[str, int], protocol: Protocol) -> dict[str, int]:
    """Per league the last candidate not later than the one chosen on val that is in it; if none, the unedited model.

    Args:
        ratios: candidate to loss ratio on G_test.
        caps: league to the candidate chosen on val.
        protocol: its leagues.
    """
    return {
        label: max((n for n, ratio in ratios.items() if n <= caps[label] and in_league(ratio, epsilon)), default=0)
        for label, epsilon in protocol.leagues.items()
    }


def next_to_measure(ratios: Mapping[int, float], caps: Mapping[str, int], protocol: Protocol) -> int | None:
    """The candidate whose ratio ``choose_on_test`` needs next, from the last one down; None if nothing is missing."""
    for label, epsilon in protocol.leagues.items():
        for number in range(caps[label], UNEDITED, -1):
            if number not in ratios:
                return number
            if in_league(ratios[number], epsilon):
                break
    return None
