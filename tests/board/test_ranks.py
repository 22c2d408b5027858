"""Ranks: who shares one, and what tells rows apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from board_cases import with_examples
from canonbench.board.ranks import Contender, Gains, TaskGains, average_gains, ranking
from canonbench.results.compare import Side, compare
from canonbench.results.examples import read_edit_blocks, taken_blocks
from canonbench.scoring.intervals import Interval
from canonbench.suite.tasks import TASKS

THRESHOLDS = {name: task.threshold for name, task in TASKS.items()}
UNKNOWN = Contender(None, None)


def by_interval(low: float, high: float) -> Contender:
    return Contender(Interval(low, high), None)


def by_gains(*points: float, asked: str = "these") -> Contender:
    """One task of as many subjects, and an interval that says nothing."""
    clusters = [str(row) for row in range(len(points))]
    return Contender(Interval(-100.0, 100.0), Gains(asked, (TaskGains(np.array(points), clusters),)))


@pytest.mark.parametrize(
    ("contenders", "ranks"),
    [
        ([], ()),
        ([(4, 6)], (1,)),
        ([(4, 6), (1, 3)], (1, 2)),
        ([(4, 6), (3, 4), (1, 2)], (1, 1, 3)),  # touching intervals overlap
        # The third overlaps the second but not the best of their rank: its own rank begins, and it is the one to beat.
        ([(6, 8), (4, 7), (2, 5), (1, 3)], (1, 1, 3, 3)),
        ([(5, 5), (5, 5), (4, 4)], (1, 1, 3)),  # no width at all: equal is equal
    ],
)
def test_rows_share_a_rank_with_the_best_row_that_nothing_tells_them_from(
    contenders: list[tuple[float, float]], ranks: tuple[int, ...]
) -> None:
    assert ranking([by_interval(*each) for each in contenders]).ranks == ranks


def test_paired_values_tell_apart_what_intervals_would_not() -> None:
    """On one of three rows the second gains a hundred points less, though rows vary by hundreds."""
    gains = [-100.0, 0.0, 100.0] * 10
    worse = [point - 100.0 if row % 3 == 2 else point for row, point in enumerate(gains)]
    best, next_best = by_gains(*gains), by_gains(*worse)
    assert ranking([best, next_best]) == ((1, 2), {"paired"})
    assert ranking([best._replace(gains=None), next_best]) == ((1, 1), {"intervals"})


def test_gains_on_other_rows_are_not_paired() -> None:
    best, other = by_gains(*[100.0] * 30), by_gains(*[0.0] * 30, asked="others")
    assert ranking([best, other]) == ((1, 1), {"intervals"})


def test_equal_gains_and_gains_that_differ_by_a_few_rows_share_a_rank() -> None:
    gains = [100.0, 0.0, 0.0] * 10
    assert ranking([by_gains(*gains), by_gains(*gains)]) == ((1, 1), {"paired"})
    assert ranking([by_gains(*gains), by_gains(0.0, *gains[1:])]) == ((1, 1), {"paired"})


def test_who_gives_no_interval_shares_a_rank_and_does_not_hold_the_others_together() -> None:
    assert ranking([UNKNOWN, UNKNOWN]) == ((1, 1), frozenset())
    assert ranking([by_interval(5, 6), UNKNOWN, by_interval(1, 2), UNKNOWN]).ranks == (1, 1, 3, 3)
    assert ranking([UNKNOWN, by_interval(5, 6), by_interval(1, 2)]).ranks == (1, 1, 3)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 20))))
def test_ranks_never_fall_down_the_table_and_count_the_rows_above(rows: list[tuple[float, float]]) -> None:
    ordered = sorted(rows, reverse=True)
    intervals = [Interval(middle - half, middle + half) for middle, half in ordered]
    ranks = ranking([Contender(each, None) for each in intervals]).ranks
    assert len(ranks) == len(rows)
    for position, rank in enumerate(ranks, start=1):
        best = ranks.index(rank)
        assert best + 1 == rank <= position
        assert intervals[best].low <= intervals[position - 1].high or best + 1 == position


def sides(successes: list[bool], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Side]:
    import pyarrow.parquet as pq

    root = tmp_path_factory.mktemp("examples")
    row = with_examples(root, "some", successes)
    assert row.examples is not None
    blocks = read_edit_blocks(pq.read_table(root / row.examples.file), {name: t.loss for name, t in TASKS.items()})
    return {name: Side(taken_blocks(blocks, name, "evaluation", {0: 1}), [], []) for name in TASKS}


@pytest.mark.parametrize(("other", "ranks"), [(lambda row: row % 3 == 0, (1, 2)), (lambda row: row % 7 < 5, (1, 1))])
def test_two_rows_are_separated_as_the_paired_comparison_of_them_says(
    other: Callable[[int], bool], ranks: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = sides([row % 3 != 0 for row in range(24)], tmp_path_factory)
    second = sides([other(row) for row in range(24)], tmp_path_factory)
    one, two = (Contender(None, average_gains(each, THRESHOLDS)) for each in (first, second))
    difference = compare(first, second, THRESHOLDS).success
    assert difference.ci is not None
    separated = difference.ci.high < 0
    assert ranking([one, two]) == (ranks, {"paired"})
    assert separated == (ranks == (1, 2))


def test_one_subject_leaves_nothing_to_compare(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert average_gains(sides([True, False], tmp_path_factory), THRESHOLDS) is None
