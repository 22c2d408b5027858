"""Compare two runs on the same rows: paired differences with intervals, McNemar's test, and the flipped rows.

If a run has repetitions (the seeds of an edit run), its success, hard negatives and general loss are means over them.
McNemar's test needs one success or failure per row, so it uses each run's first repetition: a mean is neither, a
majority vote is not an existing model, and rows pooled over repetitions are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError
from canonbench.results.aggregate_tasks import Pair, mean_of
from canonbench.results.comparison import ChangedRow, Comparison, Difference, GeneralMeasure, RowScore, TaskComparison
from canonbench.results.examples import Block, unchanged
from canonbench.scoring import (
    NOTHING_CHANGED,
    general_loss,
    loss_ratio,
    mcnemar,
    mean_change,
    mean_loss,
    ratio_change,
    success_change,
    success_rate,
    successes,
)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """One run's scores on one task: one block per repetition, all with the same rows; empty if nothing was scored."""

    evaluation: Sequence[Block]
    hard_negatives: Sequence[Block]
    general: Sequence[Block]


def compare(first: Mapping[str, Side], second: Mapping[str, Side], thresholds: Mapping[str, float]) -> Comparison:
    """Compare two runs on the tasks of ``thresholds`` (task to δ, nats). Pure; same input, same numbers.

    Swapping the runs changes the signs of all differences and nothing else.

    Args:
        first: task to the first run's scores, with at least one repetition of the evaluation rows.
        second: the same for the second run.
        thresholds: the tasks to compare, in the order of the result, with their δ.

    Raises:
        CanonbenchError: the runs did not score the same rows.
    """
    measure = _measure([side[name] for side in (first, second) for name in thresholds])
    tasks, success, hard = {}, [], []
    for name, threshold in thresholds.items():
        one, two = first[name], second[name]
        _require_same_rows(one, two, name)
        success.append(_success(one, two, threshold))
        hard.append(_hard_negatives(one, two))
        flips = _flips(one.evaluation[0], two.evaluation[0], threshold)
        only_first = sum(flip.succeeds == "first" for flip in flips)
        tasks[name] = TaskComparison(
            n=one.evaluation[0].edited.size,
            n_subjects=one.evaluation[0].n_clusters,
            success=_require(_difference(success[-1])),
            mcnemar_p=mcnemar(only_first, len(flips) - only_first),
            hard_negatives=_difference(hard[-1]),
            general=_difference(None if measure is None else _general(one, two, measure)),
            flips=flips,
        )
    return Comparison(tasks, _require(_difference(mean_of(success))), _difference(mean_of(hard)), measure)


def _measure(sides: Sequence[Side]) -> GeneralMeasure | None:
    if not all(side.general for side in sides):
        return None
    blocks = [block for side in sides for block in side.general]
    if all(block.base is not None for block in blocks):
        return "ratio"
    # With other tokens the continuations differ, and a loss per token has another unit.
    return "loss" if all(np.array_equal(block.n_tokens, blocks[0].n_tokens) for block in blocks) else None


def _require_same_rows(one: Side, two: Side, name: str) -> None:
    for part in ("evaluation", "hard_negatives", "general"):
        blocks = (*getattr(one, part), *getattr(two, part))
        for block in blocks[1:]:
            if block.clusters != blocks[0].clusters or not np.array_equal(block.index, blocks[0].index):
                raise CanonbenchError(f"the two runs did not score the same {part} rows of task {name!r}")


def _success(one: Side, two: Side, threshold: float) -> Pair:
    def of(blocks: Sequence[Block]) -> tuple[float, Values]:
        rows = _row_means([100.0 * successes(block.edited, threshold) for block in blocks])
        return fmean(success_rate(block.edited, threshold) for block in blocks), rows

    (before, rows_before), (after, rows_after) = of(one.evaluation), of(two.evaluation)
    if unchanged(one.evaluation, two.evaluation):
        return Pair(before, after, NOTHING_CHANGED)
    return Pair(before, after, success_change(rows_before, rows_after, one.evaluation[0].clusters))


def _hard_negatives(one: Side, two: Side) -> Pair | None:
    def of(blocks: Sequence[Block]) -> tuple[float, Values]:
        return fmean(mean_loss(block.edited) for block in blocks), _row_means([block.edited for block in blocks])

    if not one.hard_negatives or not two.hard_negatives:
        return None
    (before, rows_before), (after, rows_after) = of(one.hard_negatives), of(two.hard_negatives)
    if unchanged(one.hard_negatives, two.hard_negatives):
        return Pair(before, after, NOTHING_CHANGED)
    return Pair(before, after, mean_change(rows_before, rows_after, one.hard_negatives[0].clusters))


def _general(one: Side, two: Side, measure: GeneralMeasure) -> Pair:
    """Compare the general losses: a difference of two quotients over the same chunks, which stay paired."""

    def of(blocks: Sequence[Block]) -> tuple[float, tuple[Values, Values]]:
        losses, tokens, base = _row_means([block.edited for block in blocks]), blocks[0].n_tokens, blocks[0].base
        if measure == "loss":
            return general_loss(losses, tokens), (tokens.astype(np.float64), losses)
        assert base is not None, "a ratio is compared where both runs have a base"
        return loss_ratio(general_loss(base, tokens), general_loss(losses, tokens)), (base, losses)

    (before, quotient_before), (after, quotient_after) = of(one.general), of(two.general)
    if unchanged(one.general, two.general) and np.array_equal(quotient_before[0], quotient_after[0]):
        return Pair(before, after, NOTHING_CHANGED)
    return Pair(before, after, ratio_change(quotient_before, quotient_after))


def _flips(one: Block, two: Block, threshold: float) -> tuple[ChangedRow, ...]:
    before, after = (successes(block.edited, threshold) for block in (one, two))
    flips = [
        ChangedRow(
            index=int(one.index[row]),
            subject=None if one.clusters[row] == f"row {one.index[row]}" else one.clusters[row],
            succeeds="second" if after[row] else "first",
            first=_score(one, row),
            second=_score(two, row),
        )
        for row in np.flatnonzero(before != after)
    ]
    return tuple(sorted(flips, key=lambda flip: (-flip.change, flip.index)))


def _score(block: Block, row: np.intp) -> RowScore:
    return RowScore(float(block.edited[row]), tuple(float(np.exp(log_p[row])) for log_p in block.edited_log_p))


def _row_means(repetitions: Sequence[NDArray[np.floating[Any]]]) -> Values:
    means: Values = np.mean(repetitions, axis=0)
    return means


def _difference(pair: Pair | None) -> Difference | None:
    if pair is None or pair.base is None:
        return None
    return Difference(pair.base, pair.edited, pair.edited - pair.base, pair.interval)


def _require(difference: Difference | None) -> Difference:
    assert difference is not None, "every run has a success rate on every task"
    return difference
