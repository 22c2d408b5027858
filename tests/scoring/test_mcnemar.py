from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonbench.scoring.mcnemar import mcnemar


def by_definition(only_first: int, only_second: int) -> Fraction:
    n, k = only_first + only_second, min(only_first, only_second)
    return min(Fraction(1), 2 * Fraction(sum(math.comb(n, i) for i in range(k + 1)), 2**n))


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),  # nothing to tell them apart by
        (0, 1, 1.0),  # 2 · 1/2
        (0, 5, 0.0625),  # 2/32
        (0, 6, 0.03125),  # 2/64, the first that is significant at 5 %
        (1, 9, 22 / 1024),  # 2 · (1 + 10)/1024
        (2, 8, 112 / 1024),  # 2 · (1 + 10 + 45)/1024
        (5, 5, 1.0),  # 2 · 638/1024 exceeds 1
        (3, 4, 1.0),  # 2 · (1 + 7 + 21 + 35)/128
    ],
)
def test_p_is_the_value_worked_out_by_hand(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first) == p


@given(only_first=st.integers(0, 300), only_second=st.integers(0, 300))
def test_p_is_the_binomials_tail_in_exact_fractions(only_first: int, only_second: int) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(float(by_definition(only_first, only_second)), rel=1e-12)


def test_a_hundred_thousand_discordant_rows_neither_overflow_nor_lose_the_value() -> None:
    # One half each, less the middle term: 1 − C(n, n/2)/2^n = 1 − sqrt(2/(πn)) to first order, doubled and cut.
    n = 100_000
    assert mcnemar(n // 2, n // 2) == 1.0
    # One row off the middle: 2·(1/2 − C(n, n/2)/2^n/2) = 1 − C(n, n/2)/2^n, Stirling's series to three terms.
    middle = math.sqrt(2 / (math.pi * n)) * (1 - 1 / (4 * n) + 1 / (32 * n * n))
    assert mcnemar(n // 2 - 1, n // 2 + 1) == pytest.approx(1 - middle, rel=1e-12)
    # Five standard deviations (√n/2 each) off the middle: the normal tail with continuity correction, to its accuracy.
    distance = 5 * math.sqrt(n) / 2
    low = round(n / 2 - distance)
    normal = math.erfc((n / 2 - low - 0.5) / math.sqrt(n / 2))
    assert mcnemar(low, n - low) == pytest.approx(normal, rel=1e-3)
    assert mcnemar(0, n) == 0.0  # 2 / 2^100000
    assert 0 < mcnemar(0, 1074) < 1e-320
