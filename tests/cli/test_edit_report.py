"""The tables after an edit run, character by character; ``golden/edit-*.txt`` hold what they should look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from edit_cases import TEST, VAL, edited
from row_cases import SIX

from canonbench.cli.edit_tables import draw_edit
from canonbench.results.row import Row

GOLDEN = Path(__file__).parent / "golden"
HUNDRED = (1053, 0.0, 100.0, (-100.0, 100.0), 1053, 0.0, 100.0, 1053, 11.5, 23.25, (-12.5, -11.9))
ROWS = {
    "edit-val": edited(VAL),
    "edit-test": edited(TEST, split="test"),
    "edit-one-task": edited({"1e-3": {"gender": ((1,), 1.0, "in")}}, {"gender": SIX["gender"]}, limit=12),
    "edit-widest": edited(
        {"1e-3": {"stereoset": ((10, 11, 12, 13, 10), 1.00098, "in"), "verb": ((None,) * 5, 1.0, "in")}},
        {"stereoset": HUNDRED, "verb": SIX["verb"]},
        split="test",
    ),
}
PLACE = Path("canonbench-runs/lora")


@pytest.mark.parametrize("name", ROWS)
def test_an_edit_run_looks_as_its_golden_file(name: str) -> None:
    assert draw_edit(ROWS[name], PLACE) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_line_of_an_edit_run_is_wider_than_80_columns_or_ends_in_blanks(row: Row) -> None:
    for line in draw_edit(row, PLACE).splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_every_task_stands_in_every_league_and_the_unedited_are_called_so() -> None:
    drawn = draw_edit(ROWS["edit-val"], None)
    tables = drawn.split("\nleague ")[1:]
    assert [table.split()[0] for table in tables] == ["1e-3", "1e-4", "1e-5"]
    for table in tables:
        assert [line.split()[0] for line in table.splitlines()[2:9]] == [*SIX, "average"]
    assert [table.count("unedited") for table in tables] == [0, 1, 6]
    assert "row " not in drawn, "without a folder there is nothing to point at"


def test_what_was_kept_is_pointed_at(tmp_path: Path) -> None:
    row = ROWS["edit-one-task"]
    assert "artefacts  none kept" in draw_edit(row, tmp_path)
    for number in (10, 3):
        (tmp_path / f"artefacts/gender/seed-0/candidate-{number}").mkdir(parents=True)
        (tmp_path / f"artefacts/gender/seed-0/candidate-{number}/x").touch()
    lines = draw_edit(row, tmp_path).splitlines()
    assert f"row        {tmp_path}/row.json" in lines
    assert f"picture    {tmp_path}/trajectory.svg" in lines
    assert f"artefacts  {tmp_path}/artefacts/gender/seed-0/candidate-10 and 1 more" in lines
