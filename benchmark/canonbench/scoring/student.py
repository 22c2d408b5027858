"""The 97.5 % point of Student's distribution, for any number of degrees of freedom."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

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
