"""The table for people, character by character; ``golden/*.txt`` hold what it should look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_cases import SIX, made_up

from canonbench.cli.tables import draw_row
from canonbench.results.row import Row

GOLDEN = Path(__file__).parent / "golden"
ONE_SUBJECT = (12, 17.15, 34.31, None, 540, 18.0, 35.5, 4, 2.3112, 2.3359, (0.0121, 0.035))
ROWS = {
    "with-base": made_up(),
    "alone": made_up(base=False),
    "one-subject": made_up({"country": SIX["country"], "mine": ONE_SUBJECT}, limit=12),
    "no-general-text": made_up({"gender": SIX["gender"]}, base=False, general=False),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_looks_as_its_golden_file(name: str) -> None:
    assert draw_row(ROWS[name]) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_line_is_wider_than_80_columns_or_ends_in_blanks(row: Row) -> None:
    for line in draw_row(row).splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_the_text_holds_no_box_drawing_and_no_escape_codes() -> None:
    outside = {letter for row in ROWS.values() for letter in draw_row(row) if not letter.isascii()}
    assert outside == {"Δ"}


def test_a_long_task_name_is_folded_and_every_number_stays_whole() -> None:
    name = "a_task_of_your_own_with_a_rather_long_name_that_no_table_has_room_for"
    drawn = draw_row(made_up({name: SIX["country"]}))
    assert max(map(len, drawn.splitlines())) <= 80
    for number in ("583", "17.15", "34.31", "+17.16", "[+12.20, +21.90]", "+17.50", "2.3112", "[+0.0121, +0.0350]"):
        assert number in drawn
    assert name in "".join(line.split(" ")[0] for line in drawn.splitlines())


def test_a_long_model_name_is_never_broken() -> None:
    name = "/a/very/long/path/" * 8 + "model"
    row = made_up()
    renamed = row.model_copy(update={"model": row.model.model_copy(update={"name": name})})
    assert draw_row(renamed).splitlines()[0] == f"{name} against EleutherAI/pythia-1b"
