from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from canonbench.results.row import Row
from canonbench.results.row_results import Change

KINDS = ("fixed", "alone", "edit_run", "reported")


def put(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of the content with another value at a dotted place."""
    changed = copy.deepcopy(content)
    *parents, last = place.split("/")
    part = changed
    for key in parents:
        part = part[key]
    part[last] = value
    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_row_comes_back_from_disk_as_it_was(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    row = Row.model_validate(request.getfixturevalue(kind))
    row.write(tmp_path / "row.json")
    again = Row.read(tmp_path / "row.json")
    assert again == row
    assert again.to_json() == (tmp_path / "row.json").read_text(encoding="utf-8") == row.to_json()


def test_the_file_has_the_same_keys_as_the_row_and_ends_with_a_newline(fixed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "X.json"
    path.parent.mkdir()
    Row.model_validate(fixed).write(path)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert list(json.loads(text)) == list(fixed)
    assert json.loads(text)["tasks"] == fixed["tasks"]
    assert [found.name for found in path.parent.iterdir()] == ["X.json"]


def test_numbers_keep_six_decimals_ratios_nine_and_noise_floors_twelve(fixed: dict[str, Any]) -> None:
    fixed["general"] |= {"ratio": 1.00050000049, "noise_floor": 1.6240e-10}
    row = Row.model_validate(fixed)
    assert (row.general.ratio, row.general.noise_floor) == (1.0005, 1.62e-10)
    change = Change(base=100 / 3, edited=-1e-9, delta=-100 / 3)
    assert change.model_dump() == {"base": 33.333333, "edited": 0.0, "delta": -33.333333}
    assert math.copysign(1, change.edited) == 1


def test_a_threshold_is_a_definition_and_is_not_rounded(fixed: dict[str, Any]) -> None:
    assert Row.model_validate(fixed).tasks["country"].threshold == -math.log(0.2)


BROKEN = [
    ("fixed", "tasks/country/success/edited", math.nan, "finite"),
    ("fixed", "seconds", math.inf, "finite"),
    ("fixed", "tasks/country/success/edited", "60", "valid number"),
    ("fixed", "tasks/country/success/ci", [35.0, 5.0], r"an interval is \[low, high\]"),
    ("fixed", "general/noise_floor", -1e-9, "greater than or equal to 0"),
    ("fixed", "tasks/country/clean/n", 0, "greater than or equal to 1"),
    ("fixed", "schema", 4, "Input should be 3"),
    ("fixed", "state", "submitted", "submission: missing"),
    ("fixed", "examples", {"file": "e.parquet", "sha256": "e" * 64}, "a measured row has none of its own"),
    ("fixed", "flags", [{"name": "odd", "reason": "r"}], "'unreliable', 'superseded' or 'partial'"),
    ("fixed", "state", "guessed", "'measured', 'reported', 'submitted' or 'reproduced'"),
    ("fixed", "extra", 1, "Extra inputs"),
    ("fixed", "general/leagues", {"loose": "in"}, "a league is named by its ε"),
    ("fixed", "hyperparameters", {"lr": math.nan}, "finite"),
    ("fixed", "tasks/country/success/base", None, "both, or both null"),
    ("alone", "tasks/country/success/ci", [1.0, 2.0], "it needs a base"),
    ("fixed", "average/n_tasks", 2, "must agree with tasks"),
    ("fixed", "average/complete", True, "must agree with tasks"),
    ("fixed", "average/tasks", ["verb"], "average.tasks: must list the tasks"),
    # either a fixed checkpoint or an edit run
    ("fixed", "tasks", None, "either tasks"),
    ("fixed", "average", None, "come together"),
    ("edit_run", "method", None, "an edit run has a method"),
    ("edit_run", "general", None, "general text"),
    ("edit_run", "general/edited", 3.0, "null in an edit run"),
    ("fixed", "general/edited", None, "general.edited: missing"),
    # a base: all of it or nothing of it
    ("alone", "fingerprints/base", "c" * 64, "fingerprints.base: there is no base"),
    ("alone", "general/base", 3.0, "general.base: there is no base"),
    ("alone", "general/leagues/1e-3", "in", "general.1e-3: there is no base"),
    ("alone", "tasks/country/clean", {"base": 1.0, "edited": 2.0, "delta": 1.0, "n": 3}, "clean.base: there is no"),
    ("fixed", "base", None, "there is no base"),
    ("alone", "base", {"name": "b", "source": "hub", "revision": None}, "base and delta are needed"),
    ("fixed", "fingerprints/base", None, "fingerprints.base: missing"),
    ("fixed", "tasks/country/success/ci", None, "tasks.country.success.ci: missing"),
    ("fixed", "average/success/ci", None, "average.success.ci: missing"),
    ("fixed", "average/hard_negatives/ci", None, "average.hard_negatives.ci: missing"),
    ("fixed", "general/ratio_ci", None, "general.ratio_ci: missing"),
    ("fixed", "general/noise_floor", None, "general.noise_floor: missing"),
    ("fixed", "general/leagues/1e-4", None, "general.leagues.1e-4: missing"),
    ("edit_run", "leagues/1e-3/tasks/country/membership", None, "leagues.1e-3.tasks.country.membership: missing"),
    # aggregates that disagree, and things that only a reported row may lack
    ("fixed", "tasks/country/success/delta", 21.0, "delta: 21.0 is not edited - base = 60.0 - 40.0"),
    ("edit_run", "leagues/1e-3/average/success/delta", 21.0, "leagues.1e-3.average.success.delta"),
    ("fixed", "device", None, "device: missing; only a reported row"),
    ("fixed", "versions", {}, "versions: missing"),
    ("fixed", "tasks/country/n_subjects", None, "n_subjects: missing"),
    ("reported", "state", "measured", "missing; only a reported row|is not edited - base"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "place", "value", "message"), BROKEN, ids=[f"{k}-{p}" for k, p, *_ in BROKEN])
def test_a_row_that_does_not_hold_together_cannot_be_constructed(
    kind: str, place: str, value: Any, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ValidationError, match=message):
        Row.model_validate(put(request.getfixturevalue(kind), place, value))


@pytest.mark.parametrize("place", ["schema", "tasks/country/success/edited", "tasks/country/hard_negatives", "seconds"])
def test_a_missing_key_is_never_taken_for_not_measured(fixed: dict[str, Any], place: str) -> None:
    *parents, last = place.split("/")
    part = fixed
    for key in parents:
        part = part[key]
    del part[last]
    with pytest.raises(ValidationError, match="Field required"):
        Row.model_validate(fixed)


def test_one_checkpoint_on_two_tasks_is_the_joint_track(fixed: dict[str, Any]) -> None:
    fixed["tasks"]["gender"] = fixed["tasks"]["country"]
    fixed["average"] |= {"tasks": ["country", "gender"], "n_tasks": 2}
    assert Row.model_validate(fixed).track == "joint"
    with pytest.raises(ValidationError, match="is joint, not per-task"):
        Row.model_validate({**fixed, "track": "per-task"})


def test_one_subject_excuses_the_missing_interval(fixed: dict[str, Any]) -> None:
    fixed["tasks"]["country"]["n_subjects"] = 1
    fixed["tasks"]["country"]["success"] = {**fixed["tasks"]["country"]["success"], "ci": None}
    fixed["average"]["success"] = fixed["tasks"]["country"]["success"]
    assert Row.model_validate(fixed).average.success.ci is None


def test_a_row_cannot_be_changed_after_it_was_checked(fixed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Row.model_validate(fixed).split = "val"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=st.floats(0, 100), edited=st.floats(0, 100))
def test_rounding_never_makes_a_true_delta_disagree(fixed: dict[str, Any], base: float, edited: float) -> None:
    for place in ("tasks/country/success", "average/success"):
        fixed = put(fixed, place, {"base": base, "edited": edited, "delta": edited - base, "ci": [-100.0, 100.0]})
    assert Row.model_validate(Row.model_validate(fixed).model_dump(by_alias=True)) == Row.model_validate(fixed)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("suite/name", "published"), ("suite/version", "2"), ("suite/data_hash", "0" * 64), ("split", "val"),
        ("limit", 10), ("general/name", "openwebtext-500"), ("general/data_hash", "0" * 64), ("protocol", "mine@0"),
        ("dtype", "bfloat16"),
    ],
)  # fmt: skip
def test_rows_measured_differently_are_never_comparable(fixed: dict[str, Any], place: str, value: Any) -> None:
    own = Row.model_validate(fixed).comparable_group
    assert Row.model_validate(put(fixed, place, value)).comparable_group != own


@pytest.mark.parametrize(
    ("place", "value"),
    [("device", "cuda"), ("dtype", "float64"), ("model/name", "other"), ("seconds", 1.0)],
)
def test_what_does_not_bear_on_the_numbers_leaves_rows_comparable(
    fixed: dict[str, Any], place: str, value: Any
) -> None:
    own = Row.model_validate(fixed).comparable_group
    assert Row.model_validate(put(fixed, place, value)).comparable_group == own
    assert own.dtype_class == "float32"


def test_rows_without_general_text_have_a_group_of_their_own(fixed: dict[str, Any]) -> None:
    assert Row.model_validate(put(fixed, "general", None)).comparable_group.general is None
