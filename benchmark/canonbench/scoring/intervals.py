"""Compute numbers with 95 % intervals (docs/reference/protocol.md#4-leagues, #6-rows), one function per kind of number.

Nothing is sampled: the same input gives the same interval. The independent *unit* is a subject with all its rows, or a
chunk of general text. Each number is a ratio of sums over units. The *pull* of a unit is how much it moves that number;
the pulls, (n_units,), sum to zero, and the sum of their squares is the square of the standard error. Bootstrap
percentiles are too narrow if units are few, changes are rare, or rare changes are large;
``scripts/simulate_intervals.py`` shows by how much, docs/reference/intervals.md has the rules. ``t_975`` gives the
97.5 % point of Student's distribution that the intervals use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canonbench.errors import CanonbenchError
from canonbench.scoring.losses import require_finite

Z_975 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_STEPS = 60  # halvings of an interval of length π/2: to the last bit


@lru_cache(maxsize=4096)
def t_975(degrees: float) -> float:
    """Return t with P[|T| <= t] = 0.95, T from Student's distribution with ``degrees`` > 0 (a float) of freedom.

    With t = √ν·tan θ, P[|T| <= t] is the integral of cos^(ν−1) from 0 to θ divided by the one from 0 to π/2, which the
    gamma function gives.
    """
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2))
    low, high = 0.0, math.pi / 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        angles = middle / 2 * (_NODES + 1)
        share = middle / 2 * float(_WEIGHTS @ np.cos(angles) ** (degrees - 1)) / whole
        low, high = (middle, high) if share < 0.95 else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


NATS, RATIO = 1e-6, 1e-9
"""The resolution of a row's decimals (nats, ratio): no interval end is closer to its number."""
UNSEEN = 2.0
"""Effective rows assumed to change unobserved: one gained, one lost (Bonett and Price, 2012)."""
WHOLE = 0.1
"""Weight, in subjects, of the prior that all rows of a subject change together; data soon outweigh it."""
Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval, ends included, in the unit of the number."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A number and its uncertainty, all in the number's unit."""

    value: float
    error: float
    """Half the width of the interval from the spread of the units: t·SE."""
    below: float
    """How much an unobserved change could lower the number."""
    above: float
    """How much an unobserved change could raise the number."""
    bound: float = math.inf
    """The number is between −bound and bound."""
    resolution: float = 0.0
    """Smallest distance of an interval end from the number."""

    @property
    def interval(self) -> Interval:
        """The interval: each end is √(error² + unseen²) away, at least the resolution, clipped to the bound."""
        below, above = (max(self.resolution, math.hypot(self.error, unseen)) for unseen in (self.below, self.above))
        return Interval(max(-self.bound, self.value - below), min(self.bound, self.value + above))


NOTHING_CHANGED = Estimate(0.0, 0.0, 0.0, 0.0)
"""The difference between a model and itself: zero by definition, so rows and reports show no interval."""


def success_change(before: ArrayLike, after: ArrayLike, clusters: Sequence[str]) -> Estimate | None:
    """Estimate the mean of after − before in percentage points, clustered by subject; None with only one subject.

    The degrees of freedom of t are the effective number of subjects, (Σn)² / Σn² with n rows each, minus one. The
    unobserved change is √2·1.96 times the shift of the mean when one effective row (as many rows as change together)
    changes sides. So the width of the interval is supported by the data even if few or no rows changed.

    Args:
        before: success in percent, (n_rows,): 0 or 100, or a mean over repetitions.
        after: the same after the edit.
        clusters: (n_rows,) the subject of each row.
    """
    differences = _paired_difference(require_finite(before, "before"), require_finite(after, "after"))
    sums, sizes = _by_cluster(differences, clusters)
    if sizes.size < 2:
        return None
    value, pulls = _quotient(sums, sizes)
    n_rows, n_effective = sizes.sum(), sizes.sum() ** 2 / (sizes @ sizes)
    alone = float(np.sum((differences - value) ** 2)) / 100**2
    together = _change_together(float(pulls @ pulls) * (n_rows / 100) ** 2, alone, n_rows / n_effective)
    unseen = math.sqrt(UNSEEN) * Z_975 * 100 * together / n_rows
    return Estimate(value, t_975(max(1.0, n_effective - 1)) * _error(pulls), unseen, unseen, bound=100.0)


def mean_change(before: ArrayLike, after: ArrayLike, clusters: Sequence[str]) -> Estimate | None:
    """Estimate the mean of after − before in nats, clustered by subject; None with only one subject.

    All arguments have shape (n_rows,).
    """
    differences = _paired_difference(require_finite(before, "base"), require_finite(after, "edited"))
    sums, sizes = _by_cluster(differences, clusters)
    return None if sizes.size < 2 else _unbounded(*_quotient(sums, sizes), NATS)


def ratio(base_nll: ArrayLike, edited_nll: ArrayLike) -> Estimate | None:
    """Estimate Σ edited / Σ base over chunks of general text, (n_chunks,) in nats; None with only one chunk.

    Raises:
        CanonbenchError: a base NLL is not positive.
    """
    base, edited = _checked_ratio(base_nll, edited_nll)
    return None if base.size < 2 else _unbounded(*_quotient(edited, base), RATIO)


def ratio_change(first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]) -> Estimate | None:
    """Estimate the second Σ numerators / Σ denominators minus the first on the same chunks; None with only one chunk.

    Args:
        first: positive denominators and numerators, (n_chunks,) each: base and edited NLL, or tokens and NLL.
        second: the same for the second ratio.
    """
    (base, edited), (base2, edited2) = _checked_ratio(*first), _checked_ratio(*second)
    _paired_difference(edited, edited2)
    if base.size < 2:
        return None
    (value, pulls), (value2, pulls2) = _quotient(edited, base), _quotient(edited2, base2)
    return _unbounded(value2 - value, pulls2 - pulls, RATIO)


def mean_of_estimates(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Estimate the unweighted mean of independent numbers, such as tasks.

    Squared errors add up; the unobserved change is assumed in only one of the numbers. None if any is None, because
    its share of the uncertainty is unknown.
    """
    known = [each for each in estimates if each is not None]
    if len(known) < len(estimates):
        return None
    value, n = math.fsum(each.value for each in known) / len(known), len(known)
    error = math.hypot(*(each.error for each in known)) / n
    below, above = max(each.below for each in known) / n, max(each.above for each in known) / n
    bound, resolution = min(each.bound for each in known), max(each.resolution for each in known)
    return Estimate(value, error, below, above, bound, resolution)


def _unbounded(value: float, pulls: Values, resolution: float) -> Estimate:
    """Estimate a number without bounds. The unobserved change is t times the strongest pull in each direction.

    One more unit with such a pull could have been in the sample. The degrees of freedom of t come from the effective
    number of units, (Σ pull²)² / Σ pull⁴: if a few units carry the spread, it is known only from those few. For equal
    pulls that number is n; 1/n is subtracted from its inverse, so that an even spread gives n − 1.
    """
    # scaled by a power of two, which changes no digit: the squares of tiny pulls would vanish
    squares = np.ldexp(pulls, -math.frexp(float(np.abs(pulls).max()))[1]) ** 2
    total = float(squares.sum())
    excess = float(squares @ squares) / total**2 - 1 / pulls.size if total > 0 else 0.0
    degrees = min(pulls.size - 1.0, 1 / excess) if excess > 0 else pulls.size - 1.0
    t = t_975(max(1.0, degrees))
    below, above = t * float(-pulls.min()), t * float(pulls.max())
    return Estimate(value, t * _error(pulls), below, above, resolution=resolution)


def _change_together(clustered: float, alone: float, most: float) -> float:
    """Estimate how many rows change sides together (the design effect), from 1 to ``most``.

    Args:
        clustered: Σ over subjects of (sum of the changes)², in rows², around the mean change.
        alone: Σ over rows of change²: the value of ``clustered`` if every row changed independently.
        most: the effective rows of a subject; also the value of the prior, which has the weight of ``WHOLE`` subjects.
    """
    seen = (clustered + WHOLE * most**2) / (alone + WHOLE * most)
    return float(min(max(seen, 1.0), most))


def _quotient(numerators: Values, denominators: Values) -> tuple[float, Values]:
    """Return Σ numerators / Σ denominators and the pull of each unit on it, (n_units,)."""
    total = denominators.sum()
    value = float(numerators.sum() / total)
    return value, (numerators - value * denominators) / total


def _error(pulls: Values) -> float:
    """Return the standard error √(n / (n − 1) · Σ pull²); n / (n − 1) because the value itself is estimated."""
    return math.sqrt(pulls.size / (pulls.size - 1) * float(pulls @ pulls))


def _by_cluster(differences: Values, clusters: Sequence[str]) -> tuple[Values, Values]:
    """Return, per cluster in the order of the names, the sum of the differences and the number of rows."""
    _, cluster_of_row = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    if cluster_of_row.size != differences.size:
        raise CanonbenchError(f"{differences.size} values but {cluster_of_row.size} cluster names")
    sums = np.bincount(cluster_of_row, weights=differences).astype(np.float64)
    return sums, np.bincount(cluster_of_row).astype(np.float64)


def _checked_ratio(base: ArrayLike, edited: ArrayLike) -> tuple[Values, Values]:
    below, above = require_finite(base, "base chunk NLL"), require_finite(edited, "edited chunk NLL")
    _paired_difference(below, above)
    if (below <= 0).any():
        raise CanonbenchError(f"base chunk NLL: row {int(np.argmin(below))} is not positive")
    return below, above


def _paired_difference(base: Values, edited: Values) -> Values:
    if base.shape != edited.shape:
        raise CanonbenchError(f"{base.size} base values cannot be paired with {edited.size} edited ones")
    return edited - base
