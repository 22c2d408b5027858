"""Ranks with ties: rows share one unless something tells them apart (PROTOCOL section 6)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonbench.leaderboard.aggregate_examples import Block
from canonbench.leaderboard.aggregate_tasks import Sampler
from canonbench.leaderboard.compare import RESAMPLES, Side
from canonbench.scoring import Interval, mean_draw, percentile_interval, successes

Way = Literal["paired", "intervals"]
SAMPLER = Sampler(RESAMPLES, seed=0)
ROUNDING = 1e-9
"""Points by which sums taken in another order may differ; a difference that small separates nothing."""


class AverageDraws(NamedTuple):
    """The bootstrap of a row's average Δ success. All rows are resampled by the same streams, so they stay paired."""

    asked: Hashable
    """Which evaluation rows of which tasks; draws of other rows cannot be paired."""
    draws: NDArray[np.float64]
    """(resamples,) points."""


class Contender(NamedTuple):
    """What there is to tell a row from others."""

    interval: Interval | None
    """95 % of its average Δ success, points."""
    draws: AverageDraws | None
    """None without per-example values."""

    @property
    def comparable(self) -> bool:
        """Whether there is anything at all."""
        return self.interval is not None or self.draws is not None


class Ranking(NamedTuple):
    """The ranks of contenders, best first."""

    ranks: tuple[int, ...]
    """Competition ranks (1 1 3): one more than the rows above the best of those that share it."""
    ways: frozenset[Way]
    """What they were compared by."""


def ranking(contenders: Sequence[Contender]) -> Ranking:
    """Rank contenders that stand in order, best first.

    Each is compared with the best row of the rank above it: if nothing separates the two they share that rank, else
    the next rank begins. So all that share a rank are tied with the best of them, and ranks never fall down the table.
    A contender with nothing to tell it from others shares the rank above, and none is compared with it.
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


def average_draws(sides: Mapping[str, Side], thresholds: Mapping[str, float]) -> AverageDraws | None:
    """The bootstrap of the average Δ success over the tasks of ``thresholds`` (task to δ, nats).

    Subjects are resampled as for a row's own intervals, and each row of the data keeps its mean over seeds.
    None if a task has one subject only: nothing is known of its uncertainty.
    """
    draws = mean_draw([_task_draws(name, sides[name].evaluation, delta) for name, delta in thresholds.items()])
    if draws is None:
        return None
    first = {name: sides[name].evaluation[0] for name in thresholds}
    return AverageDraws(tuple((name, one.index.tobytes(), *one.clusters) for name, one in first.items()), draws)


def _task_draws(name: str, evaluation: Sequence[Block], threshold: float) -> NDArray[np.float64] | None:
    first = evaluation[0]
    assert first.base is not None, "a row on the board has a base"
    before = 100.0 * successes(first.base, threshold)
    after = np.mean([100.0 * successes(block.edited, threshold) for block in evaluation], axis=0)
    return SAMPLER.draws(f"{name} evaluation", first.clusters, before, after)


def _way(one: Contender, other: Contender) -> Way | None:
    if one.draws is not None and other.draws is not None and one.draws.asked == other.draws.asked:
        return "paired"
    return None if one.interval is None or other.interval is None else "intervals"


def _separated(better: Contender, other: Contender, way: Way) -> bool:
    if way == "paired":
        assert better.draws is not None
        assert other.draws is not None
        difference = percentile_interval(better.draws.draws - other.draws.draws)
        assert difference is not None
        return difference.low > ROUNDING
    assert better.interval is not None
    assert other.interval is not None
    return better.interval.low > other.interval.high
