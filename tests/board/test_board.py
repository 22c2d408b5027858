"""The board: which rows stand where, and that none is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from board_cases import checkpoint, measured, placed, reported, with_examples
from canonbench.board.board import NO_INTERVAL, Board, Entry, board
from canonbench.results.compare import Side
from canonbench.results.examples import read_edit_blocks, taken_blocks
from canonbench.results.row import Row
from canonbench.results.rows import PlacedRow

FLAG = {"reason": "the base's loss is broken"}


def no_scores(entry: Entry) -> None:
    return None


def drawn_up(*rows: Row) -> Board:
    return board(placed(*rows), no_scores)


def methods(found: Board, league: str = "1e-3") -> list[tuple[str | None, int | None]]:
    (table,) = [table for table in found.tables if table.league == league]
    return [(entry.placed.row.method, entry.rank) for entry in table.entries]


def without_tasks(row: Row, *names: str) -> Row:
    """The same row without some tasks of its leagues."""
    content = row.model_dump(by_alias=True)
    for league in content["leagues"].values():
        league["tasks"] = {name: task for name, task in league["tasks"].items() if name not in names}
        kept = list(league["tasks"])
        league["average"] |= {"tasks": kept, "n_tasks": len(kept), "complete": False}
    return Row.model_validate(content)


def test_an_edit_run_stands_in_every_league_and_the_best_stands_first() -> None:
    found = drawn_up(measured("b", 1.0), measured("a", 9.0))
    assert [table.league for table in found.tables] == ["1e-3", "1e-4", "1e-5"]
    assert methods(found, "1e-5") == [("a", 1), ("b", 2)]
    assert [table.ranked_by for table in found.tables] == ["intervals"] * 3
    assert found.excluded == ()


def test_a_checkpoint_stands_in_the_leagues_that_it_is_clearly_in() -> None:
    found = drawn_up(checkpoint())
    assert [(table.track, table.league, len(table.entries)) for table in found.tables] == [("joint", "1e-3", 1)]
    assert (found.tables[0].entries[0].ratio, found.tables[0].ranked_by) == (1.0001, None)


def test_rows_of_two_groups_or_tracks_never_share_a_table() -> None:
    found = drawn_up(measured(), measured(split="val"), measured(dtype="bfloat16"), reported(), checkpoint())
    assert all(len(table.entries) == 1 for table in found.tables)
    order = [(table.group.suite, table.group.split, table.track) for table in found.tables if table.league == "1e-3"]
    assert order == [
        ("published 1", "test", "per-task"),
        ("mini 1", "test", "per-task"),
        ("mini 1", "test", "joint"),
        ("mini 1", "test", "per-task"),  # half precision
        ("mini 1", "val", "per-task"),
    ]


def test_a_reported_row_gets_its_interval_from_the_standard_errors_of_its_tasks() -> None:
    (entry,) = drawn_up(reported(delta=3.0, error=1.0)).tables[0].entries
    # Six independent standard errors of 1: the mean's is sqrt(6)/6 = 0.40825, and 1.96 times that is 0.80017.
    assert entry.interval == pytest.approx((3 - 0.80017, 3 + 0.80017), abs=1e-5)
    assert entry.ratio is None


def test_without_an_interval_a_row_shares_a_rank_and_says_why() -> None:
    found = drawn_up(reported("a", 9.0), reported("b", 2.0, None), reported("c", 1.0))
    assert methods(found) == [("a", 1), ("b", 1), ("c", 3)]
    assert [entry.note for entry in found.tables[0].entries] == [None, NO_INTERVAL, None]
    (alone,) = drawn_up(reported(error=None)).tables[0].entries
    assert (alone.rank, alone.interval, alone.note) == (1, None, None)


def test_an_unreliable_row_is_shown_last_without_a_rank_and_with_the_reason() -> None:
    bad = reported("bad", 50.0, flags=[{"name": "unreliable", **FLAG}], provenance={"source": "a", "note": "a note"})
    found = drawn_up(reported("good"), bad)
    assert methods(found) == [("good", 1), ("bad", None)]
    assert found.tables[0].entries[1].note == "unreliable: the base's loss is broken. a note."
    assert found.tables[0].ranked_by is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (measured(flags=[{"name": "superseded", **FLAG}]), "superseded: the base's loss is broken"),
        (measured(flags=[{"name": "partial", **FLAG}]), "partial: the base's loss is broken"),
        (measured(limit=5), "scores only the first 5 rows of every file (limit)"),
        (
            without_tasks(measured(), "gender", "verb"),
            "scores 4 of the 6 standard tasks: country, company, stereoset, temporal",
        ),
        (
            checkpoint(general=checkpoint().general.model_copy(update={"leagues": {"1e-3": "uncertain"}})),
            "in no league",
        ),
    ],
)
def test_a_row_that_is_left_out_is_listed_with_the_reason(row: Row, reason: str) -> None:
    found = drawn_up(row)
    assert found.tables == ()
    assert [(each.placed.row, each.reason) for each in found.excluded] == [(row, reason)]


def test_a_checkpoint_without_a_base_is_left_out(alone: dict[str, Any]) -> None:
    assert [each.reason for each in drawn_up(Row.model_validate(alone)).excluded] == [
        "scored without a base, so there is no change to rank"
    ]


def test_tasks_of_ones_own_are_named(fixed: dict[str, Any]) -> None:
    content = {**fixed, "tasks": {"mine": fixed["tasks"]["country"]}}
    content["average"] = {**fixed["average"], "tasks": ["mine"]}
    (excluded,) = drawn_up(Row.model_validate(content)).excluded
    assert excluded.reason == "scores 0 of the 6 standard tasks: none; and tasks of its own: mine"


def test_the_ratio_is_that_of_the_worst_task_and_unknown_if_one_is() -> None:
    content = measured().model_dump(by_alias=True)
    content["leagues"]["1e-3"]["tasks"]["verb"]["ratio"] = 1.0009
    tables = drawn_up(Row.model_validate(content)).tables
    assert [table.entries[0].ratio for table in tables] == [1.0009, 1.000005, 1.000005]
    content = reported().model_dump(by_alias=True)
    content["leagues"]["1e-3"]["tasks"]["verb"]["ratio"] = 1.0
    assert drawn_up(Row.model_validate(content)).tables[0].entries[0].ratio is None


def test_rows_that_list_their_tasks_in_another_order_are_still_paired(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = [with_examples(tmp_path, method, [True, False] * 6) for method in ("a", "b")]
    content = rows[1].model_dump(by_alias=True)
    league = content["leagues"]["1e-3"]
    league["tasks"] = dict(reversed(league["tasks"].items()))
    league["average"]["tasks"] = list(league["tasks"])

    def scores(entry: Entry) -> dict[str, Side]:
        assert entry.placed.row.examples is not None
        losses = {name: task.loss for name, task in entry.tasks.items()}
        blocks = read_edit_blocks(pq.read_table(tmp_path / entry.placed.row.examples.file), losses)
        return {name: Side(taken_blocks(blocks, name, "evaluation", {0: 1}), [], []) for name in entry.tasks}

    assert board(placed(rows[0], Row.model_validate(content)), scores).tables[0].ranked_by == "paired"


def test_a_mean_ratio_that_noise_could_have_put_in_the_league_is_pointed_out() -> None:
    content = measured().model_dump(by_alias=True)
    content["leagues"]["1e-5"]["tasks"]["verb"]["membership"] = "uncertain"
    tables = drawn_up(Row.model_validate(content)).tables
    assert [table.entries[0].note for table in tables] == [
        None,
        None,
        "Mean loss ratio within the noise of the league's bound: verb.",
    ]


def test_scores_are_asked_for_only_where_two_rows_could_be_paired() -> None:
    examples = {"file": "examples.parquet", "sha256": "f" * 64}
    kept = {"state": "submitted", "submission": "s", "examples": examples}
    asked: list[Entry] = []

    def scores(entry: Entry) -> None:
        asked.append(entry)

    board(placed(measured("a", **kept), measured("b"), reported("c")), scores)
    assert asked == []
    board(placed(measured("a", **kept), measured("b", **kept), measured("c")), scores)
    assert [(entry.placed.row.method, entry.league) for entry in asked] == [
        (method, league) for league in ("1e-3", "1e-4", "1e-5") for method in "ab"
    ]


ROWS = placed(
    *(measured(method, delta) for method, delta in (("a", 1.0), ("b", 1.0), ("c", 9.0), ("d", -3.0))),
    *(reported(method, 2.0, error) for method, error in (("a", 0.1), ("b", None))),
    *(checkpoint(), measured("e", limit=1), measured("f", limit=2), measured("a", 1.0, seconds=7.0)),
)


def test_the_example_on_the_page_about_the_board_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs/reference/leaderboard.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(root)
    exec(example, {})
    assert capsys.readouterr().out.startswith("per-task 1e-3 [(1, ")


@given(st.permutations(ROWS))
def test_the_order_of_the_rows_changes_nothing(rows: Sequence[PlacedRow]) -> None:
    assert board(rows, no_scores) == board(ROWS, no_scores)


@given(st.lists(st.sampled_from(ROWS), unique_by=lambda each: each.place))
def test_no_row_is_lost(rows: list[PlacedRow]) -> None:
    found = board(rows, no_scores)
    shown = {entry.placed.place for table in found.tables for entry in table.entries}
    left_out = {each.placed.place for each in found.excluded}
    assert not shown & left_out
    assert shown | left_out == {each.place for each in rows}
