"""Paired bootstrap intervals (PROTOCOL sections 4 and 6), all of one kind: a ratio of sums over resampled units.

- A mean difference clustered by subject: units are subjects, Σ over their rows of (edited − base), over Σ of rows.
- A token-weighted loss ratio: units are chunks, Σ edited NLL over Σ base NLL (the token counts cancel).

Resampling whole subjects keeps rows about one fact together; resampling both models' values together keeps the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canonbench.errors import CanonbenchError, UsageError
from canonbench.scoring.success import require_finite

CONFIDENCE = 0.95
_BLOCK = 1 << 18  # draws held at once: 2 MiB of indices, which stay in cache


class Interval(NamedTuple):
    """A 95 % interval, ends included, in the unit of the statistic."""

    low: float
    high: float


class Units(NamedTuple):
    """What is resampled: one numerator and one positive denominator per unit, both (n_units,)."""

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


def stream(seed: int, label: str) -> np.random.Generator:
    """A generator of its own for every label, so that a task's interval does not depend on which others ran."""
    if seed < 0:
        raise UsageError(f"seed must not be negative, got {seed}")
    return np.random.default_rng([seed, *label.encode()])


def difference_units(base: ArrayLike, edited: ArrayLike, clusters: Sequence[str]) -> Units:
    """Per cluster, the sum of (edited − base) and the number of rows; all three inputs are (n_rows,)."""
    differences = _paired_difference(require_finite(base, "base"), require_finite(edited, "edited"))
    _, cluster_of_row = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    if cluster_of_row.size != differences.size:
        raise CanonbenchError(f"{differences.size} values but {cluster_of_row.size} cluster names")
    sums = np.bincount(cluster_of_row, weights=differences).astype(np.float64)
    return Units(sums, np.bincount(cluster_of_row).astype(np.float64))


def ratio_units(base_nll: ArrayLike, edited_nll: ArrayLike) -> Units:
    """Per chunk, the edited and the base model's summed NLL (nats), (n_chunks,) each.

    CanonbenchError unless every base NLL is positive: a draw could otherwise divide by zero.
    """
    base, edited = require_finite(base_nll, "base chunk NLL"), require_finite(edited_nll, "edited chunk NLL")
    _paired_difference(base, edited)
    if (base <= 0).any():
        raise CanonbenchError(f"base chunk NLL: row {int(np.argmin(base))} is not positive")
    return Units(edited, base)


def draw(units: Units, *, resamples: int, generator: np.random.Generator) -> NDArray[np.float64] | None:
    """Σ numerators / Σ denominators of ``resamples`` draws of n_units units with replacement, (resamples,).

    None for a single unit: resampling it can only give it back, and an interval of zero width would claim a
    certainty that is not there. Memory stays at a few MiB whatever the sizes.
    """
    n = units.numerators.size
    if n < 2:
        return None
    statistics = np.empty(resamples)
    per_block = max(1, _BLOCK // n)
    for start in range(0, resamples, per_block):
        stop = min(start + per_block, resamples)
        drawn = generator.integers(n, size=(stop - start, n))
        sums = units.numerators[drawn].sum(axis=1)
        statistics[start:stop] = sums / units.denominators[drawn].sum(axis=1)
    return statistics


def mean_draw(tasks: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """The unweighted mean over tasks of their draws, each resampled within its own task, (resamples,).

    None if any is None: the share of the uncertainty that comes from that task is unknown.
    """
    known = [statistics for statistics in tasks if statistics is not None]
    if len(known) < len(tasks):
        return None
    return np.asarray(np.mean(known, axis=0))


def percentile_interval(statistics: NDArray[np.float64] | None) -> Interval | None:
    """The central 95 % of the draws (resamples,); None where there are none."""
    if statistics is None:
        return None
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(statistics, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _paired_difference(base: NDArray[np.float64], edited: NDArray[np.float64]) -> NDArray[np.float64]:
    if base.shape != edited.shape:
        raise CanonbenchError(f"{base.size} base values cannot be paired with {edited.size} edited ones")
    return edited - base
