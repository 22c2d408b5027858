"""The exact McNemar test of whether two models succeed on equally many rows.

Only rows on which exactly one model succeeds matter. If the models are equally good, each such row favours either with
probability 1/2, so the count for one model is Binomial(n, 1/2).
McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages".
"""

from __future__ import annotations

import math


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value min(1, 2 P[X <= min(counts)]), X ~ Binomial(sum of counts, 1/2).

    It is 1 without discordant rows. Rows are assumed independent.
    P[X <= k] = C(n, k)/2^n · (1 + k/(n−k+1) · (1 + (k−1)/(n−k+2) · (…))): the first factor is a ratio of integers and
    the second has only positive terms, so the result is exact to about n roundings.

    Args:
        only_first: rows on which the first succeeds and the second does not, >= 0.
        only_second: rows on which the second succeeds and the first does not, >= 0.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    tail = 1.0
    for i in range(1, k + 1):  # C(n, i−1) / C(n, i) = i / (n−i+1)
        tail = 1.0 + tail * i / (n - i + 1)
    return min(1.0, 2.0 * tail * (math.comb(n, k) / (1 << n)))
