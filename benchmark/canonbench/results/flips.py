"""Find the evaluation rows that an edit fixed and those that it broke."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError
from canonbench.results.examples import Block
from canonbench.scoring import successes


class Flip(NamedTuple):
    """A row on which exactly one of base and edited model succeeds."""

    row: int
    """Index of the row within the task's evaluation rows."""
    subject: str | None
    base: float
    """The base's loss, nats."""
    edited: float
    """The edited model's loss, nats."""


class Flips(NamedTuple):
    """The fixed and the broken rows, each with the largest change in loss first."""

    fixed: tuple[Flip, ...]
    """Rows that fail before the edit and succeed after it."""
    broken: tuple[Flip, ...]
    """Rows that succeed before the edit and fail after it."""


def flips(block: Block, threshold: float) -> Flips:
    """Find the flips of one edited model on one task, with the success threshold δ in nats.

    Raises:
        CanonbenchError: the rows were scored without a base.
    """
    if block.base is None:
        raise CanonbenchError("no row is fixed or broken where there is no base")
    before, after = successes(block.base, threshold), successes(block.edited, threshold)
    return Flips(_of(block, after & ~before), _of(block, before & ~after))


def said(loss: str, value: float) -> str:
    """Format a task's loss on one row in the terms of its threshold (docs/reference/protocol.md#2-tasks): as a
    probability, or as a factor.

    Args:
        loss: name of the loss.
        value: the loss, nats.
    """
    match loss:
        case "nll":
            return _percent(-value)
        case "likelihood":
            return _percent(value)
        case "balance":
            return f"factor {math.exp(min(value, 700)):.3g}"
        case "preference":
            return f"{math.exp(max(min(-value, 700), -700)):.3g} times likelier"
        case _:
            return f"{value:.3f} nats"


def _percent(log_p: float) -> str:
    return f"{100 * math.exp(min(log_p, 0.0)):.3g} %"


def _of(block: Block, which: NDArray[np.bool_]) -> tuple[Flip, ...]:
    assert block.base is not None
    found = [
        Flip(
            int(block.index[row]),
            None if block.clusters[row] == f"row {block.index[row]}" else block.clusters[row],
            float(block.base[row]),
            float(block.edited[row]),
        )
        for row in np.flatnonzero(which)
    ]
    return tuple(sorted(found, key=lambda flip: (-abs(flip.edited - flip.base), flip.row)))
