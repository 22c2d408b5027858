from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonbench.errors import CanonbenchError
from canonbench.scoring.leagues import LEAGUES, general_loss, loss_ratio, membership, noise_floor


def test_the_general_loss_weighs_chunks_by_their_tokens() -> None:
    # (30 + 10) / (10 + 10) = 2. With unequal chunks (30 + 30) / (10 + 30) = 1.5, where the mean of the chunks' own
    # means would be (3 + 1) / 2 = 2.
    assert general_loss([30.0, 10.0], [10, 10]) == 2.0
    assert general_loss([30.0, 30.0], [10, 30]) == 1.5


def test_the_general_loss_keeps_float64_over_a_million_chunks() -> None:
    # 0.1 is not a binary fraction: a float32 running sum of 1e6 of them is off by about 1 %.
    assert general_loss(np.full(1_000_000, 0.1), np.ones(1_000_000, dtype=np.int64)) == pytest.approx(0.1, rel=1e-15)


def test_the_noise_floor_is_the_relative_difference_of_two_measurements() -> None:
    # 4.0002 / 4 - 1 = 5e-5, and the other way round 4 / 4.0002 - 1 = -4.99975e-5: about the same, never negative.
    assert noise_floor(4.0, 4.0002) == pytest.approx(5e-5, rel=1e-9)
    assert noise_floor(4.0002, 4.0) == pytest.approx(4.99975e-5, rel=1e-6)
    assert noise_floor(4.0, 4.0) == 0


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.98, "in"),  # an edit that lowers the loss is in every league
        (1.00099, "in"),  # 1e-5 below the line 1.001, five noise floors away
        (1.000999, "uncertain"),  # 1e-6 below the line
        (1.001001, "uncertain"),  # 1e-6 above it
        (1.00101, "out"),
    ],
)
def test_membership_is_uncertain_within_the_noise_floor_of_the_line(ratio: float, expected: str) -> None:
    assert membership(ratio, 1e-3, noise_floor=2e-6) == expected


def test_without_noise_a_ratio_on_the_line_is_in() -> None:
    assert membership(1 + 1e-4, 1e-4, noise_floor=0.0) == "in"
    assert membership(math.nextafter(1 + 1e-4, 2), 1e-4, noise_floor=0.0) == "out"


def test_an_unedited_model_is_in_every_league() -> None:
    ratio = loss_ratio(3.21, 3.21)
    assert {label: membership(ratio, epsilon, 1e-7) for label, epsilon in LEAGUES.items()} == dict.fromkeys(
        ("1e-3", "1e-4", "1e-5"), "in"
    )


@given(ratio=st.floats(0.99, 1.01), floor=st.floats(0, 1e-4))
def test_a_tighter_league_never_admits_what_a_looser_one_keeps_out(ratio: float, floor: float) -> None:
    order = {"in": 2, "uncertain": 1, "out": 0}
    verdicts = [order[membership(ratio, epsilon, floor)] for epsilon in (1e-3, 1e-4, 1e-5)]
    assert verdicts == sorted(verdicts, reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_ratio(0.0, 1.0), "0.0 .base."),
        (lambda: loss_ratio(3.0, math.nan), "nan .edited."),
        (lambda: general_loss([1.0, math.nan], [3, 3]), "chunk NLL: not finite in row 1"),
        (lambda: general_loss([1.0, 2.0], [3, 0]), "chunk 1 has no scored token"),
        (lambda: general_loss([1.0], [3, 4]), "1 chunk losses but 2 token counts"),
        (lambda: general_loss([], []), "no row"),
    ],
)
def test_numbers_that_give_no_ratio_are_refused(call: object, message: str) -> None:
    with pytest.raises(CanonbenchError, match=message):
        call()
