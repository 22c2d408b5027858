from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonbench.errors import CanonbenchError
from canonbench.scoring.intervals import (
    NOTHING_CHANGED,
    Z_975,
    Estimate,
    Interval,
    mean_change,
    mean_of_estimates,
    ratio,
    ratio_change,
    success_change,
    t_975,
)
from canonbench.scoring.leagues import straddles


def ends(estimate: Estimate | None) -> Interval:
    assert estimate is not None
    return estimate.interval


ONE_EACH = [str(i) for i in range(400)]


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.7062), (2, 4.302653), (5, 2.570582), (21, 2.079614), (143, 1.976692), (1e4, 1.960201)]
)
def test_students_97_5_percent_point_is_the_tables(degrees: float, t: float) -> None:
    assert t_975(degrees) == pytest.approx(t, abs=5e-5)


def test_students_point_falls_towards_the_normal_one_between_whole_degrees_too() -> None:
    points = [t_975(degrees) for degrees in np.arange(1, 40, 0.25)]
    assert points == sorted(points, reverse=True)
    assert points[-1] > Z_975


def test_a_mean_of_four_subjects_has_the_interval_worked_out_by_hand() -> None:
    # Differences 1, 2, 3, 6: mean 3, deviations -2, -1, 0, 3, SE = sqrt(14/12). Σd⁴ / (Σd²)² = 98 / 196 = 1/2, minus
    # 1/4: 4 degrees, at most 3, so t = 3.18245. Pulls are deviations / 4: the strongest are -0.5 below and 0.75 above.
    low, high = ends(mean_change(np.zeros(4), [1, 2, 3, 6], list("abcd")))
    error = math.sqrt(14 / 12)
    assert low == pytest.approx(3 - 3.182446 * math.hypot(error, 0.5), abs=1e-5)
    assert high == pytest.approx(3 + 3.182446 * math.hypot(error, 0.75), abs=1e-5)


def test_one_subject_that_carries_all_the_spread_is_one_observation() -> None:
    # 99 differences of 0 and one of 100: 1 / (Σd⁴ / (Σd²)² - 1/100) is 1.04 degrees: t is 11.8, not 1.98.
    differences = np.zeros(100)
    differences[0] = 100
    low, high = ends(mean_change(np.zeros(100), differences, ONE_EACH[:100]))
    assert high == pytest.approx(1 + 11.8 * math.sqrt(2), rel=0.02)
    assert low == pytest.approx(1 - 11.8, rel=0.02)


def test_a_success_rate_that_no_row_changes_has_the_interval_of_two_rows_that_might_have() -> None:
    # 22 subjects of three rows: nothing is known of how rows change together, so they may as whole subjects of 3.
    rows = np.repeat([0.0, 100.0], 33)
    low, high = ends(success_change(rows, rows, [str(i // 3) for i in range(66)]))
    assert high == pytest.approx(math.sqrt(2) * 1.959964 * 100 * 3 / 66)
    assert low == -high
    alone = ends(success_change(rows, rows, ONE_EACH[:66]))
    assert alone == pytest.approx((low / 3, high / 3))


def test_success_of_rows_that_stand_alone_has_the_interval_worked_out_by_hand() -> None:
    # Of 25 rows 5 are gained: 20 points, Σd² = 5·80² + 20·20² = 40,000, SE = sqrt(40,000 · 25/24) / 25, t = 2.063899.
    after = np.repeat([100.0, 0.0], [5, 20])
    low, high = ends(success_change(np.zeros(25), after, ONE_EACH[:25]))
    margin = math.sqrt(2.063899**2 * 40_000 * 25 / 24 / 625 + 2 * (1.959964 * 4) ** 2)
    assert (low, high) == pytest.approx((20 - margin, 20 + margin), abs=1e-4)


def test_success_of_subjects_of_unequal_size_counts_effective_subjects() -> None:
    # 8 rows in subjects of 5, 1, 1, 1: 64 / 28 effective ones, less one is 1.29 degrees, far from the 3 of equal sizes.
    clusters = ["a"] * 5 + ["b", "c", "d"]
    after = np.array([100.0, 0, 100, 0, 0, 0, 100, 0])
    low, high = ends(success_change(np.zeros(8), after, clusters))
    equal = ends(success_change(np.zeros(8), after, list("aabbccdd")))
    assert high - low > 1.5 * (equal.high - equal.low)


def test_rows_that_change_together_make_success_less_certain() -> None:
    names = [str(i // 5) for i in range(60)]
    together = np.repeat([100.0, 0, 0] * 4, 5)
    apart = np.tile([100.0, 0, 0], 20)
    wide, narrow = (ends(success_change(np.zeros(60), each, names)) for each in (together, apart))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_copies_of_the_rows_of_a_subject_are_no_new_evidence() -> None:
    differences = np.random.default_rng(4).normal(size=60)
    once = ends(mean_change(np.zeros(60), differences, ONE_EACH[:60]))
    copied = ends(mean_change(np.zeros(300), np.repeat(differences, 5), np.repeat(ONE_EACH[:60], 5).tolist()))
    assert once == pytest.approx(copied, abs=1e-12)


def test_the_interval_of_a_normal_mean_has_nearly_the_width_theory_gives_it() -> None:
    differences = np.random.default_rng(3).normal(1.0, 2.0, size=400)
    low, high = ends(mean_change(np.zeros(400), differences, ONE_EACH))
    assert 1 <= (high - low) / 2 / (1.96 * differences.std() / 20) < 1.06
    assert (high + low) / 2 == pytest.approx(differences.mean(), abs=0.02)


def test_the_loss_ratio_is_token_weighted_and_paired() -> None:
    # Two chunks of 10 and 30 nats, 11 and 30 after: ratio 1.025, pulls (11 - 10.25) / 40 = 0.01875 and its opposite.
    # SE = sqrt(2 · 2) · 0.01875; equal squares give one degree of freedom, t = 12.7062.
    low, high = ends(ratio([10, 30], [11, 30]))
    margin = 12.7062 * math.hypot(2 * 0.01875, 0.01875)
    assert (low, high) == pytest.approx((1.025 - margin, 1.025 + margin), abs=1e-4)


def test_a_proportional_change_leaves_a_ratio_nothing_to_vary_but_an_interval_of_some_width() -> None:
    base = np.array([1.0, 100.0, 5000.0])
    low, high = ends(ratio(base, base * 1.01))
    assert round(low, 9) < 1.01 < round(high, 9)
    assert (low, high) == pytest.approx((1.01, 1.01), abs=2e-9)


def test_a_difference_of_ratios_is_paired_chunk_by_chunk() -> None:
    # With the same base the difference is one quotient: Σ (second - first) / Σ base.
    draw = np.random.default_rng(0)
    base, first = draw.uniform(100, 400, size=(2, 50))
    second = first * draw.normal(1.01, 0.001, size=50)
    found = ends(ratio_change((base, first), (base, second)))
    as_one = ends(ratio(base, base + second - first))
    assert found == pytest.approx((as_one.low - 1, as_one.high - 1), abs=1e-12)


def test_errors_of_an_average_add_in_squares_and_one_task_had_the_unseen() -> None:
    # (√(3² + 4²) = 5, 2 below and 8 above) / 2.
    found = mean_of_estimates([Estimate(2, 3, 2, 1), Estimate(6, 4, 1, 8, bound=100)])
    assert found == Estimate(4, 2.5, 1, 4, 100)
    fine = mean_of_estimates([Estimate(2, 0, 0, 0, resolution=1e-6), Estimate(6, 0, 0, 0, resolution=1e-6)])
    assert ends(fine) == (4 - 1e-6, 4 + 1e-6)
    assert found.interval == (4 - math.hypot(2.5, 1), 4 + math.hypot(2.5, 4))


def test_a_task_that_was_not_changed_adds_no_uncertainty_and_an_unknown_one_leaves_none() -> None:
    assert mean_of_estimates([NOTHING_CHANGED, Estimate(6, 4, 1, 1)]) == Estimate(3, 2, 0.5, 0.5)
    assert mean_of_estimates([NOTHING_CHANGED, NOTHING_CHANGED]) == NOTHING_CHANGED
    assert mean_of_estimates([None, Estimate(6, 4, 1, 1)]) is None


def test_one_subject_or_chunk_has_no_interval() -> None:
    assert success_change([0, 0], [100, 0], ["Peru", "Peru"]) is None
    assert mean_change([0, 0], [1, 0], ["Peru", "Peru"]) is None
    assert ratio([3.0], [3.1]) is None
    assert ratio_change(([3.0], [3.1]), ([3.0], [3.2])) is None


@pytest.mark.parametrize(("high", "said"), [(1.0009, False), (1.0011, True)])
def test_an_interval_straddles_a_league_whose_line_lies_within_it(high: float, said: bool) -> None:
    assert straddles((0.9, high), 1e-3) is said
    assert not straddles((1.002, 1.003), 1e-3)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.booleans()), min_size=2, max_size=40),
    shuffle=st.randoms(use_true_random=False),
)
def test_success_intervals_have_a_width_and_hold_their_value_whatever_the_order(
    rows: list[tuple[str, bool, bool]], shuffle: object
) -> None:
    def interval(some: list[tuple[str, bool, bool]]) -> Interval | None:
        names, base, edited = zip(*some, strict=True)
        estimate = success_change([100 * b for b in base], [100 * e for e in edited], names)
        return None if estimate is None else estimate.interval

    found = interval(rows)
    mixed = rows.copy()
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert (found is None) == (len({name for name, *_ in rows}) == 1)
    if found is not None:
        value = 100 * np.mean([after - before for _, before, after in np.array(rows, dtype=object)])
        assert -100 <= found.low <= value <= found.high <= 100
        assert found.high - found.low > 1
        assert interval(mixed) == pytest.approx(found, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 100), st.floats(0, 100)), min_size=2, max_size=30))
def test_ratio_intervals_have_a_width_and_hold_their_value(chunks: list[tuple[float, float]]) -> None:
    base, edited = np.array(chunks).T
    low, high = ends(ratio(base, edited))
    assert round(low, 9) < round(high, 9)
    assert low <= edited.sum() / base.sum() <= high


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (lambda: mean_change([0, 1], [1], ["a", "b"]), "2 base values cannot be paired with 1"),
        (lambda: success_change([0, 1], [1, 1], ["a"]), "2 values but 1 cluster names"),
        (lambda: mean_change([0, np.nan], [1, 1], ["a", "b"]), "base: not finite in row 1"),
        (lambda: ratio([1, 2], [1, np.inf]), "edited chunk NLL: not finite in row 1"),
        (lambda: ratio([1, 0], [1, 1]), "row 1 is not positive"),
        (lambda: ratio([1, 2, 3], [1, 1]), "3 base values cannot be paired with 2"),
    ],
)
def test_inputs_that_cannot_be_paired_are_refused(units: object, message: str) -> None:
    with pytest.raises(CanonbenchError, match=message):
        units()  # type: ignore[operator]
