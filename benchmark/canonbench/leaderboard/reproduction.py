"""Whether a run that was repeated says what its row says: numbers side by side, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from canonbench.leaderboard.row import Row

AVERAGE = 1.0
"""Points by which the average success of a league may differ: training on another device takes another path."""
TASK = 5.0
"""How many times further one task may differ; 5 points are three rows of the embedded suite's 66."""
BASE = 0.5
"""Points by which the base's success may differ: no training is involved, only rounding."""
LOSS = 1e-3
"""Share by which the base's general loss may differ."""


class Compared(NamedTuple):
    """One number of a row and of its repetition."""

    where: str
    said: float
    found: float
    tolerance: float
    """How far apart they may be."""

    @property
    def agrees(self) -> bool:
        """Whether they are near enough."""
        return abs(self.found - self.said) <= self.tolerance


def compared(row: Row, again: Row, *, average: float = AVERAGE) -> list[Compared]:
    """Every number that must agree for ``again`` to be a repetition of ``row``, both rows of edit runs.

    Args:
        row: as it stands.
        again: the same method, model, data, hyperparameters and seeds, hence the same tasks and leagues.
        average: tolerance of the leagues' averages in points; a task's is ``TASK`` times as wide.
    """
    return [*_base(row, again), *_leagues(row, again, average)]


def _base(row: Row, again: Row) -> Iterator[Compared]:
    assert row.general is not None
    assert again.general is not None
    if row.general.base is not None and again.general.base is not None:
        yield Compared("base, nats per token", row.general.base, again.general.base, LOSS * row.general.base)
    first, other = (next(iter((each.leagues or {}).values())) for each in (row, again))
    for name, task in first.tasks.items():
        before, now = task.success.base, other.tasks[name].success.base
        if before is not None and now is not None:
            yield Compared(f"base, {name}", before, now, BASE)


def _leagues(row: Row, again: Row, average: float) -> Iterator[Compared]:
    for label, league in (row.leagues or {}).items():
        other = (again.leagues or {})[label]
        yield Compared(f"{label}, average", league.average.success.edited, other.average.success.edited, average)
        for name, task in league.tasks.items():
            yield Compared(f"{label}, {name}", task.success.edited, other.tasks[name].success.edited, average * TASK)
