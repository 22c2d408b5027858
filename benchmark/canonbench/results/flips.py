"""The evaluation rows that an edit fixed, and those that it broke."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError
from canonbench.results.examples import Block
from canonbench.scoring import successes


class Flip(NamedTuple):
    """A row on which base and edited model do not both succeed or both fail."""

    row: int
    """Of the row within the task's evaluation rows."""
    subject: str | None
    base: float
    """Loss, nats."""
    edited: float
    """Likewise."""


class Flips(NamedTuple):
    """Both kinds, the largest change in loss first."""

    fixed: tuple[Flip, ...]
    """Failed before the edit, succeed after it."""
    broken: tuple[Flip, ...]
    """The other way round."""


def flips(block: Block, threshold: float) -> Flips:
    """Those of one task as one edited model scored it; δ ``threshold`` in nats.

    Raises:
        CanonbenchError: the rows were scored without a base.
    """
    if block.base is None:
        raise CanonbenchError("no row is fixed or broken where there is no base")
    before, after = successes(block.base, threshold), successes(block.edited, threshold)
    return Flips(_of(block, after & ~before), _of(block, before & ~after))


def said(loss: str, value: float) -> str:
    """A task's loss on one row, in the words of its threshold (docs/reference/protocol.md#2-tasks): a probability, or
    a factor.

    Args:
        loss: its name.
        value: nats.
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
