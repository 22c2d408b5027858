"""The board for other programs and for papers."""

from __future__ import annotations

import csv
import re
from io import BytesIO, StringIO
from typing import Any

import pyarrow.parquet as pq
import pytest

from board_cases import checkpoint, measured, placed, reported
from canonbench.board.board import Board, board
from canonbench.board.export import COLUMNS, escape, records, to_bibtex, to_csv, to_latex, to_parquet
from canonbench.results.row import Row
from canonbench.results.submission import Submission

NASTY = '=a,"b"\nc \\input{x} & 5 % $y$ #1_{2} ~^<>|'


def drawn_up(*rows: Row) -> Board:
    return board(placed(*rows), lambda _: None)


def submission(**changes: Any) -> Submission:
    content = {
        "schema": 1,
        "title": "LoRA",
        "summary": "Low-rank updates.",
        "authors": ["Ada Lovelace", "Grace Hopper"],
        "contact": "@ada",
        "tuning": {"how": "By hand."},
        "models": ["demo"],
    }
    return Submission.model_validate(content | changes)


def test_every_row_of_every_table_is_a_record_with_its_numbers() -> None:
    found = list(records(drawn_up(measured("lora", 9.0), reported("full", 3.0, 1.0), checkpoint())))
    assert [(each["suite"], each["league"], each["method"]) for each in found] == [
        *(("published 1", league, "full") for league in ("1e-3", "1e-4", "1e-5")),
        ("mini 1", "1e-3", "lora"),
        ("mini 1", "1e-4", "lora"),
        ("mini 1", "1e-5", "lora"),
        ("mini 1", "1e-3", None),
    ]
    assert all(tuple(each) != () and set(each) == set(COLUMNS) for each in found)
    lora, full, fixed = found[3], found[0], found[-1]
    assert (lora["average_delta"], lora["average_low"], lora["average_high"], lora["rank"]) == (9.0, 7.0, 11.0, 1)
    assert (lora["verb_edited"], lora["verb_hard_negatives_delta"], lora["verb_ratio"]) == (29.0, 0.25, 1.000005)
    assert (full["average_high"], full["verb_standard_error"]) == (pytest.approx(3.80017, abs=1e-5), 1.0)
    assert (fixed["track"], fixed["model"], fixed["average_ratio"]) == ("joint", "mine/edited", 1.0001)


def test_csv_and_parquet_hold_the_same() -> None:
    drawn = drawn_up(measured("lora", 9.0), reported("full", 3.0, None))
    from_csv = list(csv.DictReader(StringIO(to_csv(drawn))))
    from_parquet = pq.read_table(BytesIO(to_parquet(drawn))).to_pylist()
    assert from_parquet == list(records(drawn))
    assert len(from_csv) == len(from_parquet) == 6
    for text, value in zip(from_csv, from_parquet, strict=True):
        assert list(text) == list(COLUMNS)
        assert {name: "" if each is None else str(each) for name, each in value.items()} == text


def test_a_text_that_a_spreadsheet_would_compute_stays_text() -> None:
    drawn = drawn_up(measured(NASTY, -9.0))
    record = next(csv.DictReader(StringIO(to_csv(drawn))))
    assert (record["method"], record["average_delta"]) == ("'" + NASTY, "-9.0")
    assert next(records(drawn))["method"] == NASTY


def test_an_empty_board_is_a_table_without_lines() -> None:
    assert to_csv(drawn_up()) == ",".join(COLUMNS) + "\n"
    assert pq.read_table(BytesIO(to_parquet(drawn_up()))).num_rows == 0
    assert "tabular" not in to_latex(drawn_up())


def test_exports_are_the_same_bytes_every_time() -> None:
    rows = [measured("lora", 9.0), reported()]
    for form in (to_csv, to_parquet, to_latex):
        assert form(drawn_up(*rows)) == form(drawn_up(*reversed(rows)))


def test_a_latex_table_has_a_line_per_row_and_as_many_cells_as_its_head() -> None:
    text = to_latex(drawn_up(measured("lora", 9.0, submission="lora"), measured("a_b", -1.0)))
    first = text.split("\\end{table}")[0]
    head, *lines = [line for line in first.splitlines() if line.endswith("\\\\")]
    assert {line.count(" & ") for line in (head, *lines)} == {11}
    assert len(lines) == 2
    assert "lora~\\cite{canonbench-lora} & org/base & $+9.0$" in lines[0]
    assert "a\\_b & org/base & $-1.0$" in lines[1]
    assert "$[+7.00, +11.00]$" in lines[0]
    assert re.findall(r"begin{tabular}{(.*)}", first) == ["rllrrrrrrrrr"]


def test_no_character_of_a_row_is_a_command() -> None:
    assert escape(NASTY) == (
        '=a,"b" c \\textbackslash{}input\\textbraceleft{}x\\textbraceright{} \\& 5 \\% \\$y\\$ '
        "\\#1\\_\\textbraceleft{}2\\textbraceright{} "
        "\\textasciitilde{}\\textasciicircum{}\\textless{}\\textgreater{}\\textbar{}"
    )
    assert escape("a\x00b\u202ec") == "a\ufffdb\ufffdc"
    assert escape(NASTY) in to_latex(drawn_up(measured(NASTY, submission="../../etc")))
    assert "cite{" not in to_latex(drawn_up(measured(submission="../../etc")))


def test_a_submission_becomes_an_entry_of_its_paper() -> None:
    paper = {"title": "LoRA: 100 % {low} rank", "url": "https://example.org/{x}"}
    text = to_bibtex({"lora": submission(paper=paper), "full": submission(title="Full", code="https://example.org/f")})
    entries = text.split("\n@misc{")
    assert [entry.split(",")[0] for entry in entries[1:]] == ["hewitt2024model", "canonbench-full", "canonbench-lora"]
    assert "title = {Full},\n  author = {Ada Lovelace and Grace Hopper},\n  url = {https://example.org/f}" in entries[2]
    assert "title = {LoRA: 100 \\% \\textbraceleft{}low\\textbraceright{} rank}" in entries[3]
    assert "url = {https://example.org/%7Bx%7D}" in entries[3]
    assert text.count("{") == text.count("}")
