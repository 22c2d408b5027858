"""Choose the candidate of an edit run in each league (docs/reference/protocol.md#5-selection).

The protocol ``hewitt2024`` chooses as the paper's released code does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from canonbench.scoring.protocol import Protocol

UNEDITED = 0
"""The number of the unedited model; candidates count from 1."""


class Judged(NamedTuple):
    """A candidate with the numbers that its selection depends on."""

    number: int
    ratio: float
    """Loss ratio on G."""
    success: float
    """Success rate on E in percent; not used for a candidate that is in no league."""


def in_league(ratio: float, epsilon: float, *, strict: bool = False) -> bool:
    """Whether ratio <= 1 + ε, or ratio < 1 + ε if ``strict``."""
    return ratio < 1 + epsilon if strict else ratio <= 1 + epsilon


def choose_on_val(candidates: Sequence[Judged], protocol: Protocol) -> dict[str, int]:
    """Choose, per league, the candidate in it with the highest success; the earlier one wins a tie.

    A league without candidates gets the unedited model. A candidate in a tighter league is in all looser ones, so
    success never falls as leagues widen. With selection ``last``, the last candidate strictly below the limit is
    chosen.
    """
    last = protocol.selection == "last"
    chosen = {}
    for label, epsilon in protocol.leagues.items():
        inside = [each for each in candidates if in_league(each.ratio, epsilon, strict=last)]
        best = max(inside, key=lambda each: each.number if last else (each.success, -each.number), default=None)
        chosen[label] = best.number if best else UNEDITED
    return chosen


def choose_on_test(ratios: Mapping[int, float], caps: Mapping[str, int], protocol: Protocol) -> dict[str, int]:
    """Choose, per league, the last candidate that is in it on test and not later than the one chosen on val.

    A league without such a candidate gets the unedited model.

    Args:
        ratios: candidate to loss ratio on G_test.
        caps: league to the candidate chosen on val.
        protocol: gives the leagues.
    """
    return {
        label: max((n for n, ratio in ratios.items() if n <= caps[label] and in_league(ratio, epsilon)), default=0)
        for label, epsilon in protocol.leagues.items()
    }


def next_to_measure(ratios: Mapping[int, float], caps: Mapping[str, int], protocol: Protocol) -> int | None:
    """Return the candidate whose ratio ``choose_on_test`` needs next, latest first; None if nothing is missing."""
    for label, epsilon in protocol.leagues.items():
        for number in range(caps[label], UNEDITED, -1):
            if number not in ratios:
                return number
            if in_league(ratios[number], epsilon):
                break
    return None
