"""The exact McNemar test: do two models succeed on equally many rows?

Only the rows on which exactly one of them succeeds bear on it. Were the models equally good, each such row would fall
to either with probability 1/2, so their number on one side would be Binomial(n, 1/2).
McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages".
"""

from __future__ import annotations

import math


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value min(1, 2 P[X <= min(counts)]), X ~ Binomial(their sum, 1/2); 1 without discordant rows.

    Rows are taken as independent. P[X <= k] = C(n, k)/2^n · (1 + k/(n−k+1) · (1 + (k−1)/(n−k+2) · (…))): the first
    factor comes of whole numbers and the other has positive terms only, so it is exact to about n roundings.

    Args:
        only_first: rows on which the first succeeds and the second does not, >= 0.
        only_second: the other way round, >= 0.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    tail = 1.0
    for i in range(1, k + 1):  # C(n, i−1) / C(n, i) = i / (n−i+1)
        tail = 1.0 + tail * i / (n - i + 1)
    return min(1.0, 2.0 * tail * (math.comb(n, k) / (1 << n)))
