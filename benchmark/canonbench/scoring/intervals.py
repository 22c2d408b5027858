"""The 97.5 % point of Student's distribution, for any number of degrees of freedom.

Numbers with 95 % intervals (docs/reference/protocol.md#4-leagues, #6-rows), one function per kind. Nothing is
drawn: same input, same ends.

What varies independently is a *unit*: a subject with all its rows, or a chunk of general text. Each number is a ratio
of sums over units, and a unit's *pull*, (n_units,) that sum to zero, is by how much it moves that number. The sum of
the squared pulls is the square of the standard error. Percentiles of a bootstrap are too sure where units are few,
changes rare, or rare changes large; ``scripts/simulate_intervals.py`` shows by how much,
docs/reference/intervals.md the rules.
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
"""The same of the normal distribution."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_STEPS = 60  # halvings of an interval of length π/2: to the last bit


@lru_cache(maxsize=4096)
def t_975(degrees: float) -> float:
    """The t with P[|T| <= t] = 0.95, T of Student with ``degrees`` > 0 degrees of freedom, not necessarily whole.

    With t = √ν·tan θ, P[|T| <= t] is the share of ∫ cos^(ν−1) up to θ in that up to π/2, known by the gamma function.
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
"""What a row's decimals resolve: no interval ends nearer to its number."""
UNSEEN = 2.0
"""Effective rows that could have changed and were not seen to: one gained, one lost (Bonett and Price, 2012)."""
WHOLE = 0.1
"""Of how many subjects the prior is that all rows of a subject change together; what is seen outweighs it soon."""
Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval, ends included, in the unit of the number."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A number and how uncertain it is, all in its unit."""

    value: float
    error: float
    """Half the width of the interval that the spread of the units gives: t·SE."""
    below: float
    """What a change that could have been seen and was not would take off."""
    above: float
    """What it would add."""
    bound: float = math.inf
    """The number lies between −bound and bound."""
    resolution: float = 0.0
    """No end is nearer than this, if there is an interval at all."""

    @property
    def interval(self) -> Interval:
        """Each end is √(error² + unseen²) away, at least the resolution, or at the bound."""
        below, above = (max(self.resolution, math.hypot(self.error, unseen)) for unseen in (self.below, self.above))
        return Interval(max(-self.bound, self.value - below), min(self.bound, self.value + above))


NOTHING_CHANGED = Estimate(0.0, 0.0, 0.0, 0.0)
"""The difference of a model and itself: zero by definition, so that rows and reports show no interval."""


def success_change(before: ArrayLike, after: ArrayLike, clusters: Sequence[str]) -> Estimate | None:
    """The mean of after − before, percentage points, clustered by subject; None with one subject only.

    The degrees of freedom of t are those of the effective number of subjects, (Σn)² / Σn² with n rows each, minus one.
    Unseen is √2·1.96 times by what one effective row moves the mean if it changes sides: as many rows as change
    together. So an interval has a width that its data support even if few rows changed, or none.

    Args:
        before: success in percent, (n_rows,): 0 or 100, or a mean over repetitions.
        after: likewise.
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
    """The mean of after − before, nats, clustered by subject; None with one subject only. All are (n_rows,)."""
    differences = _paired_difference(require_finite(before, "base"), require_finite(after, "edited"))
    sums, sizes = _by_cluster(differences, clusters)
    return None if sizes.size < 2 else _unbounded(*_quotient(sums, sizes), NATS)


def ratio(base_nll: ArrayLike, edited_nll: ArrayLike) -> Estimate | None:
    """Σ edited / Σ base over chunks of general text, (n_chunks,) nats each; None with one chunk only.

    CanonbenchError unless every base NLL is positive.
    """
    base, edited = _checked_ratio(base_nll, edited_nll)
    return None if base.size < 2 else _unbounded(*_quotient(edited, base), RATIO)


def ratio_change(first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]) -> Estimate | None:
    """The second Σ numerators / Σ denominators minus the first, over the same chunks; None with one chunk only.

    Args:
        first: positive denominators and numerators, (n_chunks,) each: base and edited NLL, or tokens and NLL.
        second: likewise.
    """
    (base, edited), (base2, edited2) = _checked_ratio(*first), _checked_ratio(*second)
    _paired_difference(edited, edited2)
    if base.size < 2:
        return None
    (value, pulls), (value2, pulls2) = _quotient(edited, base), _quotient(edited2, base2)
    return _unbounded(value2 - value, pulls2 - pulls, RATIO)


def mean_of_estimates(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The unweighted mean of independent numbers, such as tasks: errors add in squares; one of them had the unseen.

    None if any is None: that share of the uncertainty is unknown.
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
    """A number that has no bounds. Unseen is t times the strongest pull each way.

    One more unit like that might have been among them. The degrees of freedom of t are those of the effective number of
    units, (Σ pull²)² / Σ pull⁴: where a few carry the spread, it is known from as few. Were all pulls alike, that would
    be n; so 1/n is taken off its inverse, and even spreads come to n − 1.
    """
    squares = pulls**2
    total = float(squares.sum())
    excess = float(squares @ squares) / total**2 - 1 / pulls.size if total > 0 else 0.0
    degrees = min(pulls.size - 1.0, 1 / excess) if excess > 0 else pulls.size - 1.0
    t = t_975(max(1.0, degrees))
    below, above = t * float(-pulls.min()), t * float(pulls.max())
    return Estimate(value, t * _error(pulls), below, above, resolution=resolution)


def _change_together(clustered: float, alone: float, most: float) -> float:
    """How many rows change sides as one (the design effect), between 1 and ``most``, the effective rows of a subject.

    Args:
        clustered: Σ over subjects of the square of the sum of the changes, rows², around the mean change.
        alone: Σ over rows of the square of the change: the same, if every row changed for itself.
        most: the value of the prior, which has the weight of ``WHOLE`` subjects.
    """
    seen = (clustered + WHOLE * most**2) / (alone + WHOLE * most)
    return float(min(max(seen, 1.0), most))


def _quotient(numerators: Values, denominators: Values) -> tuple[float, Values]:
    """Σ numerators / Σ denominators, and the pull of each unit on it, (n_units,)."""
    total = denominators.sum()
    value = float(numerators.sum() / total)
    return value, (numerators - value * denominators) / total


def _error(pulls: Values) -> float:
    """The standard error: root of the sum of squares, with n / (n − 1) for the value having been estimated."""
    return math.sqrt(pulls.size / (pulls.size - 1) * float(pulls @ pulls))


def _by_cluster(differences: Values, clusters: Sequence[str]) -> tuple[Values, Values]:
    """Per cluster, in the order of their names, the sum of the differences and the number of rows."""
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
