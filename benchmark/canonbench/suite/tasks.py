"""The six standard tasks as a table (docs/reference/protocol.md#2-tasks)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from canonbench.errors import unknown_name


@dataclass(frozen=True)
class Task:
    """A task's loss and threshold: an example succeeds iff ``loss <= threshold`` (nats)."""

    name: str
    loss: str
    """``nll``, ``likelihood``, ``balance`` or ``preference``; defined in ``canonbench.scoring.losses``."""
    threshold: float
    """δ of the paper, in nats."""
    success: str
    """The success criterion in words."""


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("country", "nll", -math.log(0.20), "at least 20 % on the capital"),
        Task("company", "nll", -math.log(0.05), "at least 5 % on the CEO"),
        Task("stereoset", "likelihood", math.log(0.001), "at most 0.1 % on the stereotype"),
        Task("gender", "balance", math.log(1.5), "he and she within a factor of 1.5"),
        Task("temporal", "nll", -math.log(0.05), "at least 5 % on the entity span"),
        Task("verb", "preference", -math.log(16), "right form at least 16 times likelier"),
    )
}


def task(name: str) -> Task:
    """Return the standard task called ``name``; UsageError with a "did you mean" if there is none."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]
