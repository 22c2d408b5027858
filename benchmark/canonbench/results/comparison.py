"""What a comparison of two runs says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from canonbench.scoring import Interval

GeneralMeasure = Literal["ratio", "loss"]
"""What is compared on general text: each run's loss ratio to its own base, or the losses in nats per token."""


@dataclass(frozen=True)
class Difference:
    """A number of both runs."""

    first: float
    second: float
    delta: float
    """second − first."""
    ci: Interval | None
    """95 % interval of delta over subjects, or over chunks; None with only one of them, or if nothing differs."""


class RowScore(NamedTuple):
    """One row as one model scored it."""

    loss: float
    """Of the task, nats."""
    p: tuple[float, ...]
    """Probability of the one or two continuations."""


@dataclass(frozen=True)
class ChangedRow:
    """A row on which exactly one of the two succeeds."""

    index: int
    """Of the row within the task's evaluation rows."""
    subject: str | None
    succeeds: Literal["first", "second"]
    first: RowScore
    second: RowScore

    @property
    def change(self) -> float:
        """By how much the losses differ, nats."""
        return abs(self.second.loss - self.first.loss)


@dataclass(frozen=True)
class TaskComparison:
    """Two runs on one task."""

    n: int
    """Evaluation rows."""
    n_subjects: int
    success: Difference
    """Percent."""
    mcnemar_p: float
    """Exact two-sided McNemar test on the flips."""
    hard_negatives: Difference | None
    """Nats; None if a run has none."""
    general: Difference | None
    """See ``Comparison.measure``."""
    flips: tuple[ChangedRow, ...]
    """The largest change in loss first."""

    def only(self, side: Literal["first", "second"]) -> int:
        """Rows on which only that side succeeds."""
        return sum(flip.succeeds == side for flip in self.flips)


@dataclass(frozen=True)
class Comparison:
    """Two runs on all tasks that they share."""

    tasks: dict[str, TaskComparison]
    success: Difference
    """The unweighted mean over tasks, percent."""
    hard_negatives: Difference | None
    """Likewise, nats; None if a task has none."""
    measure: GeneralMeasure | None
    """What ``general`` of the tasks is; None where general losses cannot be compared."""
