"""The part of a row that says what a model was merged from."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from canonbench.results.row import Row
from canonbench.results.rows import json_schema


@pytest.fixture
def merged(fixed: dict[str, Any]) -> dict[str, Any]:
    """A row of one task, merged from the edits of two."""
    delta = fixed["tasks"]["country"]["success"]["delta"]
    edits = {
        "country": {"own_delta": delta + 1.5, "against_own": -1.5},
        "verb": {"own_delta": 2.0, "against_own": None},
    }
    return fixed | {
        "merged": {"how": "mean", "methods": ["lora"], "league": "1e-3", "edits": edits, "unedited": ["temporal"]}
    }


def test_it_comes_back_as_it_was_and_satisfies_the_schema(merged: dict[str, Any]) -> None:
    row = Row.model_validate(merged)
    assert row.merged is not None
    assert row.merged.edits["country"].against_own == -1.5
    assert Row.parse(row.to_line(), "here") == Row.parse(row.to_json(), "there") == row
    jsonschema.validate(json.loads(row.to_json()), json_schema())


def test_a_row_of_no_merged_model_is_written_without_it(fixed: dict[str, Any]) -> None:
    line = Row.model_validate(fixed).to_line()
    assert "merged" not in json.loads(line)
    assert Row.model_validate({**fixed, "merged": None}).to_line() == line


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        ("country", {"against_own": 1.5}, "merged.edits.country.against_own: 1.5 is not"),
        ("country", {"against_own": None}, "merged.edits.country: against_own comes with own_delta"),
        ("country", {"own_delta": None}, "merged.edits.country: against_own comes with own_delta"),
        ("verb", {"against_own": 0.0}, "merged.edits.verb: against_own comes with own_delta"),
        ("verb", {"own_delta": "2"}, "valid number"),
    ],
)
def test_what_contradicts_the_row_is_refused(
    merged: dict[str, Any], task: str, change: dict[str, Any], says: str
) -> None:
    changed = copy.deepcopy(merged)
    changed["merged"]["edits"][task] |= change
    with pytest.raises(ValidationError, match=says):
        Row.model_validate(changed)


@pytest.mark.parametrize("kind", ["alone", "edit_run"])
def test_only_a_checkpoint_beside_its_base_is_a_merged_one(
    kind: str, merged: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ValidationError, match="merged: only a checkpoint that is compared with its base"):
        Row.model_validate({**request.getfixturevalue(kind), "merged": merged["merged"]})
