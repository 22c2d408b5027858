"""The board's rows: read from JSONL, of any version of the schema, each under a name of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from canonbench.errors import CanonbenchError
from canonbench.results.row import Row
from canonbench.results.rows import read_rows, write_rows_file

EARLIER = Path(__file__).with_name("rows_of_earlier_versions")


INTERVAL_AND_LINES = [({"ratio_ci": [0.999871949, 1.000179978]}, ["1e-4", "1e-5"]), ({"ratio_ci": None}, None)]


def test_rows_that_version_1_wrote_are_still_read_with_every_number_they_had() -> None:
    written = [json.loads(line) for line in (EARLIER / "1.jsonl").read_text(encoding="utf-8").splitlines()]
    for old in written:
        now = json.loads(Row.model_validate(old).to_json())
        assert (old.pop("schema"), now.pop("schema")) == (1, 3)
        assert [now.pop(name) for name in ("submission", "flags", "examples")] == [None, [], None]
        assert without_straddles(now) == without_seed(old)


def test_rows_that_version_2_wrote_are_still_read_with_every_number_they_had() -> None:
    written = [json.loads(line) for line in (EARLIER / "2.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [old["tasks"] is None for old in written] == [False, True]
    for old in written:
        now = json.loads(Row.model_validate(old).to_json())
        assert (old.pop("schema"), now.pop("schema")) == (2, 3)
        assert without_straddles(now) == without_seed(old)


@pytest.mark.parametrize(("said", "straddles"), INTERVAL_AND_LINES)
def test_a_row_of_an_earlier_version_says_which_lines_its_own_interval_straddles(
    said: dict[str, Any], straddles: list[str] | None
) -> None:
    old = json.loads((EARLIER / "1.jsonl").read_text(encoding="utf-8").splitlines()[0])
    old["general"] |= said
    if straddles is None:
        old["state"] = "reported"  # only such a row may lack the interval
    general = json.loads(Row.model_validate(old).to_json())["general"]
    assert general["straddles"] == straddles


def without_seed(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seed"}


def without_straddles(part: Any) -> Any:
    if isinstance(part, list):
        return [without_straddles(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: without_straddles(value) for key, value in part.items() if key != "straddles"}


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
    path.write_text(f"{good}\n{good}\n{good[:-9]}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:3: not valid JSON"):
        read_rows(tmp_path)
    path.write_text(f"{good}\n{json.dumps({**fixed, 'split': 'train'})}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:2: split: Input should be 'val' or 'test'"):
        read_rows(tmp_path)
    path.write_text(f"{good}\n{good}\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"some\.jsonl:2: the same row as some\.jsonl:1"):
        read_rows(tmp_path)
    with pytest.raises(CanonbenchError, match="no such folder of rows"):
        read_rows(tmp_path / "missing")
