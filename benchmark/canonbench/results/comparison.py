"""The result of a comparison of two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from canonbench.scoring import Interval

GeneralMeasure = Literal["ratio", "loss"]
"""The quantity compared on general text: each run's loss ratio to its own base, or the loss in nats per token."""


@dataclass(frozen=True)
class Difference:
    """One number of both runs, and their difference."""

    first: float
    second: float
    delta: float
    """second − first."""
    ci: Interval | None
    """95 % interval of delta over subjects or chunks; None with only one subject or chunk, or if nothing differs."""


class RowScore(NamedTuple):
    """One model's scores of one row."""

    loss: float
    """The task's loss, nats."""
    p: tuple[float, ...]
    """Probabilities of the one or two continuations."""


@dataclass(frozen=True)
class ChangedRow:
    """A row on which exactly one of the two runs succeeds."""

    index: int
    """Index of the row within the task's evaluation rows."""
    subject: str | None
    succeeds: Literal["first", "second"]
    first: RowScore
    second: RowScore

    @property
    def change(self) -> float:
        """Absolute difference of the losses, nats."""
        return abs(self.second.loss - self.first.loss)


@dataclass(frozen=True)
class TaskComparison:
    """The comparison of two runs on one task."""

    n: int
    """Number of evaluation rows."""
    n_subjects: int
    success: Difference
    """Success rate, percent."""
    mcnemar_p: float
    """P-value of the exact two-sided McNemar test on the flips."""
    hard_negatives: Difference | None
    """Hard-negative loss, nats; None if a run has no hard negatives."""
    general: Difference | None
    """General loss or loss ratio, as ``Comparison.measure`` says."""
    flips: tuple[ChangedRow, ...]
    """The changed rows, the largest change in loss first."""

    def only(self, side: Literal["first", "second"]) -> int:
        """The rows on which only that side succeeds."""
        return sum(flip.succeeds == side for flip in self.flips)


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs on all tasks that they share."""

    tasks: dict[str, TaskComparison]
    success: Difference
    """Mean success over tasks (unweighted), percent."""
    hard_negatives: Difference | None
    """Mean hard-negative loss over tasks (unweighted), nats; None if a task has none."""
    measure: GeneralMeasure | None
    """The quantity in each task's ``general``; None if general losses cannot be compared."""
