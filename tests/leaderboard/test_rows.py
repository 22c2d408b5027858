"""The board's rows: read from JSONL, of any version of the schema, each under a name of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from canonbench.errors import CanonbenchError
from canonbench.leaderboard import Row
from canonbench.leaderboard.rows import read_rows, write_rows_file

EARLIER = Path(__file__).with_name("rows_of_earlier_versions")


def test_rows_that_version_1_wrote_are_still_read_with_every_number_they_had() -> None:
    placed = read_rows(EARLIER)
    assert [place for place, _ in placed] == ["1.jsonl:1", "1.jsonl:2"]
    written = [json.loads(line) for line in (EARLIER / "1.jsonl").read_text(encoding="utf-8").splitlines()]
    for (_, row), old in zip(placed, written, strict=True):
        now = json.loads(row.to_json())
        assert (old.pop("schema"), now.pop("schema")) == (1, 2)
        assert [now.pop(name) for name in ("submission", "flags", "examples")] == [None, [], None]
        assert now == old


def test_a_row_is_written_as_one_line_and_read_back_the_same(fixed: dict[str, Any], tmp_path: Path) -> None:
    row = Row.model_validate({**fixed, "method": "a\u2028b", "provenance": {"source": "s", "note": "two\nlines"}})
    write_rows_file(tmp_path / "some.jsonl", [row])
    assert (tmp_path / "some.jsonl").read_text(encoding="utf-8").count("\n") == 1
    assert [each.row for each in read_rows(tmp_path)] == [row]


def test_a_rows_name_follows_from_its_content(fixed: dict[str, Any]) -> None:
    row = Row.model_validate(fixed)
    assert row.row_id == Row.model_validate(json.loads(row.to_json())).row_id
    assert row.row_id != Row.model_validate({**fixed, "seconds": 1.0}).row_id


def test_what_cannot_be_a_row_is_named_by_file_and_line(fixed: dict[str, Any], tmp_path: Path) -> None:
    good = Row.model_validate(fixed).to_line()
    path = tmp_path / "some.jsonl"
    path.write_text(f"{good}\n\n{good[:-9]}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:3: Invalid JSON"):
        read_rows(tmp_path)
    path.write_text(f"{good}\n{json.dumps({**fixed, 'split': 'train'})}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:2: split: Input should be 'val' or 'test'"):
        read_rows(tmp_path)
    path.write_text(f"{good}\n{good}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:2: the same row as some\.jsonl:1"):
        read_rows(tmp_path)
    with pytest.raises(CanonbenchError, match="no such folder of rows"):
        read_rows(tmp_path / "missing")
