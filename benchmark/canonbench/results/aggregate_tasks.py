"""Compute the numbers of one task, and the average over tasks.

Both are means over repetitions: a fixed checkpoint has one repetition, an edit run one per seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from canonbench.results.examples import Block, is_base
from canonbench.results.row_results import (
    Average,
    Change,
    ChangeWithInterval,
    Clean,
    HardNegatives,
    TaskResult,
    is_complete,
)
from canonbench.scoring import (
    NOTHING_CHANGED,
    Estimate,
    Interval,
    Protocol,
    mean_change,
    mean_loss,
    mean_of_estimates,
    success_change,
    success_rate,
    successes,
)


class TaskSpec(NamedTuple):
    """How a task is scored: its loss by name, and its own δ in nats (a protocol may override it)."""

    loss: str
    threshold: float


class Pair(NamedTuple):
    """A number before and after the edit, not yet rounded, and the difference as an estimate."""

    base: float | None
    edited: float
    estimate: Estimate | None = None
    """None if the uncertainty is unknown; ``NOTHING_CHANGED`` if it is known to be zero."""

    def change(self) -> dict[str, Any]:
        """The fields of a ``Change``."""
        delta = None if self.base is None else self.edited - self.base
        return {"base": self.base, "edited": self.edited, "delta": delta}

    def change_with_interval(self) -> dict[str, Any]:
        """The fields of a ``ChangeWithInterval``."""
        return {**self.change(), "ci": self.interval}

    @property
    def interval(self) -> Interval | None:
        """Interval of the difference; None if unknown or if nothing changed: zero by definition is not an estimate."""
        return None if self.estimate is None or self.estimate == NOTHING_CHANGED else self.estimate.interval


class Scored(NamedTuple):
    """A task's result, and the unrounded numbers that enter the average."""

    result: TaskResult
    success: Pair
    clean: Pair | None
    hard_negatives: Pair | None


def score_task(
    name: str,
    spec: TaskSpec,
    evaluation: Sequence[Block],
    hard_negatives: Sequence[Block],
    protocol: Protocol,
) -> Scored:
    """Compute a task's means over repetitions (docs/reference/protocol.md#2-tasks, #3-hard-negatives, #5-selection).

    Intervals are clustered by subject; each row enters with its mean over repetitions.

    Args:
        evaluation: one block per repetition, at least one, all with the same rows and the same base.
        hard_negatives: one block per repetition likewise, or empty.
    """
    first, threshold = evaluation[0], protocol.threshold(name, spec.threshold)
    success, clean = _success(evaluation, threshold), _clean(evaluation, threshold)
    over = _hard_negatives(hard_negatives) if hard_negatives else None
    counts: dict[str, Any] = {}
    if hard_negatives:
        counts = {"n": hard_negatives[0].edited.size, "n_subjects": hard_negatives[0].n_clusters}
    result = TaskResult(
        loss=spec.loss,
        threshold=threshold,
        n=first.edited.size,
        n_subjects=first.n_clusters,
        success=ChangeWithInterval(**success.change_with_interval()),
        clean=None if clean is None else Clean(**clean.change(), n=int(first.clean.sum())),
        hard_negatives=None if over is None else HardNegatives(**over.change_with_interval(), **counts),
    )
    return Scored(result, success, clean, over)


def average_of(scored: Mapping[str, Scored]) -> Average:
    """Compute the unweighted mean over tasks."""
    success = mean_of([each.success for each in scored.values()])
    assert success is not None
    clean = mean_of([each.clean for each in scored.values()])
    over = mean_of([each.hard_negatives for each in scored.values()])
    return Average(
        tasks=tuple(scored),
        n_tasks=len(scored),
        complete=is_complete(tuple(scored)),
        success=ChangeWithInterval(**success.change_with_interval()),
        clean=None if clean is None else Change(**clean.change()),
        hard_negatives=None if over is None else ChangeWithInterval(**over.change_with_interval()),
    )


def mean_of(pairs: Sequence[Pair | None]) -> Pair | None:
    """The mean, or None if a task lacks the number: a mean over fewer tasks would look like one over all."""
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return None
    bases = [pair.base for pair in known if pair.base is not None]
    edited = fmean(pair.edited for pair in known)
    estimate = mean_of_estimates([pair.estimate for pair in known])
    return Pair(fmean(bases) if bases else None, edited, estimate)


def _success(blocks: Sequence[Block], threshold: float) -> Pair:
    first, edited = blocks[0], fmean(success_rate(block.edited, threshold) for block in blocks)
    if first.base is None:
        return Pair(None, edited)
    base = success_rate(first.base, threshold)
    if is_base(blocks):
        return Pair(base, edited, NOTHING_CHANGED)
    before = 100.0 * successes(first.base, threshold)
    after = np.mean([100.0 * successes(block.edited, threshold) for block in blocks], axis=0)
    return Pair(base, edited, success_change(before, after, first.clusters))


def _clean(blocks: Sequence[Block], threshold: float) -> Pair | None:
    first = blocks[0]
    if not first.clean.any():
        return None
    base = None if first.base is None else success_rate(first.base[first.clean], threshold)
    return Pair(base, fmean(success_rate(block.edited[block.clean], threshold) for block in blocks))


def _hard_negatives(blocks: Sequence[Block]) -> Pair:
    first, edited = blocks[0], fmean(mean_loss(block.edited) for block in blocks)
    if first.base is None:
        return Pair(None, edited)
    if is_base(blocks):
        return Pair(mean_loss(first.base), edited, NOTHING_CHANGED)
    after = np.mean([block.edited for block in blocks], axis=0)
    return Pair(mean_loss(first.base), edited, mean_change(first.base, after, first.clusters))
