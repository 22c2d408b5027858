"""Which candidate is taken in each league."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from canonbench.scoring.protocol import protocol
from canonbench.scoring.selection import Judged, choose_on_test, choose_on_val, next_to_measure

BEST, LAST = protocol("canonbench-1"), protocol("hewitt2024")
TRAJECTORY = [
    Judged(1, 1.000005, 10.0),
    Judged(2, 1.00005, 14.0),
    Judged(3, 1.0004, 14.0),
    Judged(4, 1.001, 12.0),
    Judged(5, 1.3, 90.0),
]

ratios = st.floats(0.99, 1.01)
candidates = st.lists(st.tuples(ratios, st.floats(0, 100)), max_size=8).map(
    lambda pairs: [Judged(number, *pair) for number, pair in enumerate(pairs, 1)]
)


def test_the_best_in_league_is_taken_and_the_earlier_of_equals() -> None:
    assert choose_on_val(TRAJECTORY, BEST) == {"1e-3": 2, "1e-4": 2, "1e-5": 1}


def test_as_released_the_last_strictly_below_the_cutoff_is_taken() -> None:
    at_the_line = [*TRAJECTORY[:3], Judged(4, 1 + 1e-3, 12.0)]
    assert choose_on_val(at_the_line, LAST) == {"1e-3": 3, "1e-4": 2, "1e-5": 1}
    assert choose_on_val(at_the_line, BEST)["1e-3"] == 2


def test_no_candidate_in_league_leaves_the_unedited_model() -> None:
    assert choose_on_val([Judged(1, 1.00005, 50.0)], BEST) == {"1e-3": 1, "1e-4": 1, "1e-5": 0}
    assert choose_on_val([], BEST) == {"1e-3": 0, "1e-4": 0, "1e-5": 0}


def test_on_test_the_last_in_league_up_to_the_chosen_one_is_taken() -> None:
    found = {1: 1.000001, 2: 1.00005, 3: 1.0002, 4: 1.00001, 5: 1.0}
    assert choose_on_test(found, {"1e-3": 4, "1e-4": 3, "1e-5": 3}, BEST) == {"1e-3": 4, "1e-4": 2, "1e-5": 1}
    assert choose_on_test(found, {"1e-3": 0, "1e-4": 0, "1e-5": 0}, BEST) == {"1e-3": 0, "1e-4": 0, "1e-5": 0}


@given(candidates)
def test_results_never_fall_as_leagues_widen(found: list[Judged]) -> None:
    success = {0: float("-inf"), **{each.number: each.success for each in found}}
    chosen = choose_on_val(found, BEST)
    assert success[chosen["1e-3"]] >= success[chosen["1e-4"]] >= success[chosen["1e-5"]]


@given(st.lists(ratios, min_size=1, max_size=8), st.data())
def test_measuring_from_the_last_one_down_finds_the_choice_of_having_measured_all(
    values: list[float], data: st.DataObject
) -> None:
    all_ratios = dict(enumerate(values, 1))
    caps = {label: data.draw(st.integers(0, len(values))) for label in BEST.leagues}
    measured: dict[int, float] = {}
    while (number := next_to_measure(measured, caps, BEST)) is not None:
        assert number not in measured
        measured[number] = all_ratios[number]
    assert choose_on_test(measured, caps, BEST) == choose_on_test(all_ratios, caps, BEST)
    assert set(measured) <= set(range(1, max(caps.values()) + 1))


def test_other_leagues_can_be_asked_for() -> None:
    wide = replace(BEST, leagues={"0.5": 0.5})
    assert choose_on_val(TRAJECTORY, wide) == {"0.5": 5}
