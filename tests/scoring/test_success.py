from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonbench.errors import CanonbenchError
from canonbench.scoring.losses import mean_loss, require_finite, success_rate, successes

THRESHOLD = -math.log(0.20)  # country: at least 20 % on the capital


def test_success_is_a_loss_at_or_below_the_threshold_in_percent() -> None:
    # p = 0.5, 0.2, 0.1, 0.05 on the capital: the first two reach 20 %, the second exactly. 2 of 4 = 50 %.
    losses = [-math.log(p) for p in (0.5, 0.20, 0.1, 0.05)]
    assert successes(losses, THRESHOLD).tolist() == [True, True, False, False]
    assert success_rate(losses, THRESHOLD) == 50.0


def test_the_mean_loss_is_the_mean_to_the_last_bit() -> None:
    # 1e16 + 1 + 1 - 1e16 = 2, of four values 0.5; a running float sum loses both ones.
    assert mean_loss([1e16, 1.0, 1.0, -1e16]) == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("statistic", [mean_loss, lambda losses, *, what: success_rate(losses, 0.0, what=what)])
def test_a_value_that_is_not_finite_is_named_and_never_averaged_in(statistic: object, bad: float) -> None:
    with pytest.raises(CanonbenchError, match=r"country: not finite in row 2 \(.*(nan|inf)\)"):
        statistic([0.0, 1.0, bad], what="country")


def test_rows_are_named_by_their_own_numbers_and_a_long_list_is_cut() -> None:
    values, rows = np.full(7, np.nan), np.arange(10, 17)
    with pytest.raises(CanonbenchError, match=r"row 10 \(nan\), 11 .* 14 \(nan\) and 2 more"):
        require_finite(values, "verb", rows)


@pytest.mark.parametrize("statistic", [mean_loss, lambda losses: success_rate(losses, 0.0)])
def test_the_mean_of_nothing_is_an_error_not_a_nan(statistic: object) -> None:
    with pytest.raises(CanonbenchError, match="no row"):
        statistic([])


@given(losses=st.lists(st.floats(-50, 50), min_size=1), low=st.floats(-50, 50), rise=st.floats(0, 50))
def test_a_laxer_threshold_never_lowers_the_success_rate(losses: list[float], low: float, rise: float) -> None:
    assert 0 <= success_rate(losses, low) <= success_rate(losses, low + rise) <= 100
