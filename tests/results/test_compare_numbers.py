from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonbench.errors import CanonbenchError
from canonbench.results.aggregate import GeneralText, aggregate
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.compare import Side, compare
from canonbench.results.comparison import Comparison, Difference
from canonbench.results.examples import read_blocks, read_edit_blocks, taken_blocks
from canonbench.scoring.intervals import Interval, mean_change, ratio, success_change, t_975
from canonbench.scoring.protocol import PROTOCOLS
from worked_out import Rows, columns, country, edit_rows, gender

LOSSES = {"country": "nll", "gender": "balance"}
THRESHOLDS = {"country": -math.log(0.20), "gender": math.log(1.5)}


def edit_side(rows: Rows, task: str, taken: dict[int, int]) -> Side:
    blocks = read_edit_blocks(columns(rows), LOSSES)
    return Side(*(taken_blocks(blocks, task, part, taken) for part in ("evaluation", "hard_negatives", "general")))


def fixed_table(rows: Rows, taken: tuple[int, int], model: str) -> dict[str, Any]:
    """One candidate's rows, or the base's, as a checkpoint scored on its own; general text once."""
    table = []
    for row in rows:
        if (row["seed"], row["candidate"]) == taken and (row["task"], row["part"]) != ("gender", "general"):
            own = {f"edited_{key}": row[f"{model}_{key}"] for key in ("log_p_a", "log_p_b", "loss")}
            nothing = {f"base_{key}": math.nan for key in ("log_p_a", "log_p_b", "loss", "again_log_p_a")}
            table.append({**row, **own, **nothing, "task": "" if row["part"] == "general" else row["task"]})
    return columns(table)


def fixed_sides(table: dict[str, Any]) -> dict[str, Side]:
    blocks = read_blocks(table, LOSSES)
    return {
        task: Side([blocks[task, "evaluation"]], [blocks[task, "hard_negatives"]], [blocks["", "general"]])
        for task in LOSSES
    }


def compared(first: dict[int, int], second: dict[int, int], task: str = "country") -> Comparison:
    sides = [{task: edit_side(edit_rows(), task, taken)} for taken in (first, second)]
    return compare(*sides, {task: THRESHOLDS[task]})


def test_two_models_on_one_task_are_the_numbers_worked_out_by_hand() -> None:
    found = compared({0: 2}, {1: 1}).tasks["country"]
    # At least 20 % on the capital: the first has 0.50, 0.40 and 0.30, the second 0.30 and 0.25. France loses 200
    # points over 2 rows, Peru gains 100 over 1, Chad 0.
    assert (found.n, found.n_subjects) == (4, 3)
    assert found.success == Difference(75.0, 50.0, -25.0, Interval(-100.0, 100.0))
    # Hard negatives: 2.5 and 3.5 against 2 and 4, so -0.5 for France and +0.5 for Peru.
    margin = t_975(1) * math.hypot(0.5, 0.25)
    assert found.hard_negatives == Difference(3.0, 3.0, 0.0, pytest.approx((-margin, margin)))
    # Ratios 120.06/120 and 120.12/120; each chunk rose by 0.03 more.
    assert found.general is not None
    assert (found.general.first, found.general.second) == (pytest.approx(1.0005), pytest.approx(1.001))
    assert found.general.delta == pytest.approx(0.0005)
    rise = ratio([30, 90], [30.03, 90.03])
    assert rise is not None
    assert found.general.ci == pytest.approx((rise.interval.low - 1, rise.interval.high - 1))
    # Three rows changed sides, two of them for the worse: p = 2 (1 + 3)/8.
    assert (found.only("first"), found.only("second"), found.mcnemar_p) == (2, 1, 1.0)


def test_flips_come_with_the_largest_change_in_loss_first() -> None:
    flips = compared({0: 2}, {1: 1}).tasks["country"].flips
    assert [(flip.index, flip.subject, flip.succeeds) for flip in flips] == [
        (0, "France", "first"),  # ln 5
        (1, "France", "first"),  # ln 4
        (2, "Peru", "second"),  # ln 3
    ]
    assert [flip.change for flip in flips] == pytest.approx([math.log(5), math.log(4), math.log(3)])
    assert flips[0].first.p == pytest.approx((0.5,))
    assert flips[0].second.p == pytest.approx((0.1,))
    assert flips[0].second.loss == pytest.approx(-math.log(0.1))


def test_a_pair_loss_shows_both_probabilities() -> None:
    (flip,) = compared({0: 0}, {0: 1}, "gender").tasks["gender"].flips
    assert (flip.index, flip.subject, flip.succeeds) == (1, "janitor", "second")
    assert flip.first.p == pytest.approx((math.exp(-1), math.exp(-3)))
    assert flip.second.p == pytest.approx((math.exp(-1), math.exp(-1.3)))


def test_seeds_enter_with_their_mean_and_mcnemar_with_the_first() -> None:
    found = compared({0: 0, 1: 0}, {0: 2, 1: 1}).tasks["country"]
    # As in an edit run's row: 75 % and 50 % are 62.5 % on average; hard negatives 3 and 3; ratios 1.0005 and 1.001.
    hard = mean_change([0, 0], [0.25, 0.75], ["France", "Peru"])
    rows = success_change([0, 0, 0, 0], [50, -50, 50, 0], ["France", "France", "Peru", "Chad"])
    assert found.success == Difference(50.0, 62.5, 12.5, rows and rows.interval)
    assert found.hard_negatives == Difference(2.5, 3.0, 0.5, hard and hard.interval)
    assert found.general is not None
    assert (found.general.first, found.general.second) == (1.0, pytest.approx(1.00075))
    # Seed 0 gained France's first row. (Seed 1 lost France's second and gained Peru's.)
    assert [(flip.index, flip.succeeds) for flip in found.flips] == [(0, "second")]
    assert found.mcnemar_p == 1.0


def test_the_average_is_over_tasks() -> None:
    taken = {"country": ({0: 2}, {1: 1}), "gender": ({0: 0}, {0: 1})}
    first, second = ({task: edit_side(edit_rows(), task, pair[i]) for task, pair in taken.items()} for i in (0, 1))
    found = compare(first, second, THRESHOLDS)
    assert list(found.tasks) == ["country", "gender"]
    assert (found.success.first, found.success.second, found.success.delta) == (62.5, 75.0, 12.5)
    assert found.hard_negatives is not None
    assert found.hard_negatives.delta == pytest.approx(0.05)
    # A task has the same numbers whichever others are compared.
    assert found.tasks["country"] == compared({0: 2}, {1: 1}).tasks["country"]


def random_rows(seed: int) -> Rows:
    random = np.random.default_rng(seed)
    rows = [row for row in edit_rows() if not row["candidate"]]
    for taken in ((0, 1), (3, 2)):
        p, pairs = random.uniform(0.01, 1, 4), random.uniform(-2, 0, (2, 2))
        hard, text = random.uniform(0, 3, (2, 2)), random.uniform(20, 90, (2, 2))
        rows += country(taken, tuple(p), tuple(hard[0]), tuple(text[0]))
        rows += gender(taken, tuple(map(tuple, pairs)), tuple(hard[1]), tuple(text[1]))
    return rows


def negated(difference: Difference | None) -> Any:
    assert difference is not None
    ci = difference.ci and Interval(pytest.approx(-difference.ci.high), pytest.approx(-difference.ci.low))  # type: ignore[arg-type]
    return Difference(difference.second, difference.first, -difference.delta, ci)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), task=st.sampled_from(["country", "gender"]))
def test_exchanging_the_runs_changes_signs_and_nothing_else(seed: int, task: str) -> None:
    rows = random_rows(seed)
    one, two = ({task: edit_side(rows, task, taken)} for taken in ({0: 1}, {3: 2}))
    there, back = (compare(*pair, {task: THRESHOLDS[task]}) for pair in ((one, two), (two, one)))
    forth, reverse = there.tasks[task], back.tasks[task]
    assert reverse.success == negated(forth.success)
    assert reverse.hard_negatives == negated(forth.hard_negatives)
    assert reverse.general == negated(forth.general)
    assert (reverse.only("first"), reverse.mcnemar_p) == (forth.only("second"), forth.mcnemar_p)
    assert [flip.index for flip in reverse.flips] == [flip.index for flip in forth.flips]


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    found = compared({0: 2, 1: 1}, {0: 2, 1: 1}).tasks["country"]
    for difference in (found.success, found.hard_negatives, found.general):
        assert difference is not None
        assert (difference.delta, difference.ci) == (0.0, None)
    assert (found.flips, found.mcnemar_p) == ((), 1.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_base_and_edited_model_scored_apart_differ_as_the_edited_ones_row_says(seed: int) -> None:
    rows = [row for row in random_rows(seed) if (row["task"], row["part"]) != ("gender", "general")]
    together = columns(
        [
            {**row, "task": "" if row["part"] == "general" else row["task"]}
            for row in rows
            if (row["seed"], row["candidate"]) == (3, 2)
        ]
    )
    specs = {task: TaskSpec(LOSSES[task], THRESHOLDS[task]) for task in LOSSES}
    row = aggregate(together, tasks=specs, protocol=PROTOCOLS["canonbench-1"], general=GeneralText("g", "h"))
    before, after = (fixed_sides(fixed_table(rows, (3, 2), model)) for model in ("base", "edited"))
    found = compare(before, after, THRESHOLDS)
    for name, task in row.tasks.items():
        for ours, theirs in (
            (found.tasks[name].success, task.success),
            (found.tasks[name].hard_negatives, task.hard_negatives),
        ):
            assert ours is not None
            assert theirs is not None
            assert theirs.ci is not None
            assert ours.ci is not None
            assert (ours.first, ours.second, ours.delta) == pytest.approx(
                (theirs.base, theirs.edited, theirs.delta), abs=1e-6
            )
            assert tuple(ours.ci) == pytest.approx(theirs.ci, abs=1e-6)
    assert found.success.ci is not None
    assert tuple(found.success.ci) == pytest.approx(row.average.success.ci, abs=1e-6)
    assert row.general is not None
    assert found.measure == "loss"
    general = found.tasks["country"].general
    assert general is not None
    assert (general.first, general.second) == pytest.approx((row.general.base, row.general.edited), abs=1e-6)


def test_general_losses_of_other_tokens_are_not_compared() -> None:
    table = fixed_table(edit_rows(), (0, 0), "base")
    sides = fixed_sides(table)
    assert compare(sides, sides, THRESHOLDS).measure == "loss"
    other = fixed_sides({**table, "n_tokens_a": table["n_tokens_a"] + 1})
    found = compare(sides, other, THRESHOLDS)
    assert (found.measure, found.tasks["country"].general) == (None, None)


def test_what_was_not_scored_is_none() -> None:
    bare = {task: replace(side, hard_negatives=[], general=[]) for task, side in both().items()}
    found = compare(bare, both(), THRESHOLDS)
    assert (found.measure, found.hard_negatives, found.tasks["country"].hard_negatives) == (None, None, None)


def both() -> dict[str, Side]:
    return {task: edit_side(edit_rows(), task, {0: 0}) for task in LOSSES}


@pytest.mark.parametrize("part", ["evaluation", "hard_negatives"])
@pytest.mark.parametrize(("column", "value"), [("index", 9), ("subject", "Mali")])
def test_runs_that_scored_other_rows_are_refused(part: str, column: str, value: Any) -> None:
    rows = edit_rows()
    for row in rows:
        if (row["task"], row["part"], row["index"]) == ("country", part, 1):
            row[column] = value
    other = {task: edit_side(rows, task, {0: 0}) for task in LOSSES}
    with pytest.raises(CanonbenchError, match=f"did not score the same {part} rows of task 'country'"):
        compare(both(), other, THRESHOLDS)
