"""Rank rows with ties: rows share a rank unless they differ significantly (docs/reference/protocol.md#6-rows)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonbench.results import Block, Side
from canonbench.scoring import Interval, mean_of_estimates, success_change, successes

Way = Literal["paired", "intervals"]


class TaskGains(NamedTuple):
    """A row's gains on one task."""

    points: NDArray[np.float64]
    """(n_rows,) success after − before the edit, percentage points, mean over seeds."""
    clusters: Sequence[str]
    """(n_rows,) subject of each row."""


class Gains(NamedTuple):
    """A row's gains on every evaluation row of every task in its average."""

    asked: Hashable
    """Identifies the evaluation rows and tasks; gains on different rows cannot be paired."""
    tasks: tuple[TaskGains, ...]


class Contender(NamedTuple):
    """The data by which a row is compared with others."""

    interval: Interval | None
    """95 % interval of the average Δ success, points."""
    gains: Gains | None
    """Gains per evaluation row; None without per-example values."""

    @property
    def comparable(self) -> bool:
        """Whether the row can be compared: it has an interval or gains."""
        return self.interval is not None or self.gains is not None


class Ranking(NamedTuple):
    """The ranks of the contenders, best first."""

    ranks: tuple[int, ...]
    """Competition ranks (1 1 3): one plus the number of rows above the first row of that rank."""
    ways: frozenset[Way]
    """The ways in which contenders were compared."""


def ranking(contenders: Sequence[Contender]) -> Ranking:
    """Rank contenders that are sorted, best first.

    Each contender is compared with the best row of the rank above it. If the two are not separated, they share that
    rank; otherwise the next rank begins. So all rows of a rank are tied with the best of them, and ranks never decrease
    down the table. A contender that cannot be compared shares the rank above, and no other is compared with it.
    """
    ranks: list[int] = []
    ways: set[Way] = set()
    best: Contender | None = None
    for position, one in enumerate(contenders, start=1):
        way = None if best is None else _way(best, one)
        if way is not None:
            ways.add(way)
        separate = best is not None and way is not None and _separated(best, one, way)
        ranks.append(position if separate or not ranks else ranks[-1])
        if separate or best is None or not best.comparable:
            best = one
    return Ranking(tuple(ranks), frozenset(ways))


def average_gains(sides: Mapping[str, Side], thresholds: Mapping[str, float]) -> Gains | None:
    """Compute a row's gains on the tasks of ``thresholds`` (task to δ, nats), as means over seeds per evaluation row.

    None if a task has only one subject, because its uncertainty is then unknown.
    """
    evaluations = {name: sides[name].evaluation for name in thresholds}
    if any(blocks[0].n_clusters < 2 for blocks in evaluations.values()):
        return None
    asked = tuple((name, blocks[0].index.tobytes(), *blocks[0].clusters) for name, blocks in evaluations.items())
    return Gains(asked, tuple(_task_gains(evaluations[name], delta) for name, delta in thresholds.items()))


def _task_gains(evaluation: Sequence[Block], threshold: float) -> TaskGains:
    first = evaluation[0]
    assert first.base is not None, "a row on the board has a base"
    before = 100.0 * successes(first.base, threshold)
    after = np.mean([100.0 * successes(block.edited, threshold) for block in evaluation], axis=0)
    return TaskGains(after - before, first.clusters)


def _way(one: Contender, other: Contender) -> Way | None:
    if one.gains is not None and other.gains is not None and one.gains.asked == other.gains.asked:
        return "paired"
    return None if one.interval is None or other.interval is None else "intervals"


def _separated(better: Contender, other: Contender, way: Way) -> bool:
    if way == "paired":
        assert better.gains is not None
        assert other.gains is not None
        lead = _lead(better.gains, other.gains)
        return lead is not None and lead.low > 0
    assert better.interval is not None
    assert other.interval is not None
    return better.interval.low > other.interval.high


def _lead(better: Gains, other: Gains) -> Interval | None:
    """95 % interval of the difference of the average gains, paired row by row."""
    pairs = zip(better.tasks, other.tasks, strict=True)
    lead = mean_of_estimates([success_change(two.points, one.points, one.clusters) for one, two in pairs])
    return None if lead is None else lead.interval
