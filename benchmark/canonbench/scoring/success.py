"""From per-example losses to one number: the success rate and the mean, neither over a non-finite value."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canonbench.errors import CanonbenchError


def require_finite(values: ArrayLike, what: str, rows: ArrayLike | None = None) -> NDArray[np.float64]:
    """``values`` as a non-empty float64 vector; CanonbenchError if there is none or one is NaN or infinite.

    An infinite loss is refused like a NaN: finite logits cannot give probability zero, so both mean a broken model.
    The message names the rows by ``rows`` (their numbers in the file), or by position when it is None.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.size == 0:
        raise CanonbenchError(f"{what}: there is no row to average")
    bad = np.flatnonzero(~np.isfinite(vector))
    if bad.size:
        names = bad if rows is None else np.asarray(rows)[bad]
        shown = ", ".join(f"{row} ({vector[i]})" for row, i in zip(names[:5], bad[:5], strict=True))
        more = f" and {bad.size - 5} more" if bad.size > 5 else ""
        raise CanonbenchError(f"{what}: not finite in row {shown}{more}; check the model's weights and logits")
    return vector


def successes(losses: ArrayLike, threshold: float, *, what: str = "losses") -> NDArray[np.bool_]:
    """Which of the losses (n,) succeed: L <= δ, both in nats (docs/reference/protocol.md#2-tasks)."""
    return np.asarray(require_finite(losses, what) <= threshold)


def success_rate(losses: ArrayLike, threshold: float, *, what: str = "losses") -> float:
    """The share of the losses (n,) that are at most ``threshold``, in percent."""
    return 100.0 * float(np.mean(successes(losses, threshold, what=what)))


def mean_loss(losses: ArrayLike, *, what: str = "losses") -> float:
    """The mean of the losses (n,) in nats, the hard negatives' number (docs/reference/protocol.md#3-hard-negatives);
    exactly rounded sum."""
    vector = require_finite(losses, what)
    return math.fsum(vector) / vector.size
