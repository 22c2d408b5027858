from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from compare_cases import ANSWERS, PREFIXES, TASKS, write_edit_run, write_edit_suite, write_fixed_run

from canonbench.errors import CanonbenchError, UsageError
from canonbench.runs.compare import compare
from worked_out import CHOICES

UNEDITED = {"country": {0: 0, 1: 0}, "gender": {0: 0, 1: 0}}
SECOND = {"1e-3": {"country": {1: 1}, "gender": {0: 0}}, "1e-4": CHOICES["1e-4"]}
"""As CHOICES, but in 1e-3 country has the other seed's candidate alone, and gender none."""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_edit_suite(tmp_path / "suite")


@pytest.fixture
def one(tmp_path: Path, suite: Path) -> Path:
    return write_edit_run(tmp_path / "one", suite)


@pytest.fixture
def two(tmp_path: Path, suite: Path) -> Path:
    return write_edit_run(tmp_path / "two", suite, choices=SECOND, method="full")


def test_edit_runs_are_compared_by_the_models_that_the_league_took(one: Path, two: Path, suite: Path) -> None:
    found = compare(one, two, league="1e-3", suite=suite)
    country = found.comparison.tasks["country"]
    # 62.5 is the mean of seeds with 75 and 50, of which the second run has the latter.
    assert (country.success.first, country.success.second) == (62.5, 50.0)
    assert country.general is not None
    assert country.general.delta == pytest.approx(0.00025)
    # The first seeds of each: 0.50, 0.40, 0.10, 0.30 and 0.10, 0.10, 0.30, 0.25.
    assert [(flip.index, flip.succeeds) for flip in country.flips] == [(0, "first"), (1, "first"), (2, "second")]
    assert (found.repetitions(found.first), found.repetitions(found.second)) == (2, 1)
    # Gender: the first run's seed 0 made both rows right, the second left it alone.
    assert found.comparison.tasks["gender"].only("first") == 1


def test_flips_come_with_their_texts_and_as_many_as_asked_for(one: Path, two: Path, suite: Path) -> None:
    found = compare(one, two, league="1e-3", suite=suite, flips=2)
    assert [flip.index for flip in found.shown_flips("country")] == [0, 1]
    assert found.texts["country"] == {i: (PREFIXES["country"][i], ANSWERS[i], None) for i in (0, 1)}
    assert found.texts["gender"] == {1: (PREFIXES["gender"][1], " he", " she")}
    assert found.notes == ("left unedited in this league: second gender",)


def test_the_json_holds_what_is_shown_and_says_what_is_not(one: Path, two: Path, suite: Path) -> None:
    content = json.loads(compare(one, two, league="1e-3", suite=suite, flips=1).to_json())
    country = content["tasks"]["country"]
    assert (country["only_first"], country["only_second"], country["mcnemar_p"]) == (2, 1, 1.0)
    assert country["success"]["delta"] == -12.5
    assert country["flips_left_out"] == 2
    (flip,) = country["flips"]
    assert flip["text"] == {"prefix": PREFIXES["country"][0], "suffix_a": " Paris", "suffix_b": None}
    assert flip["first"]["p"] == pytest.approx([0.5])
    assert flip["second"]["loss"] == pytest.approx(2.302585)
    assert content["first"] == {"path": str(one), "model": "tiny", "base": "tiny", "method": "lora", "repetitions": 2}
    assert (content["league"], content["general_measure"]) == ("1e-3", "ratio")
    assert content["average"]["success"]["first"] == 68.75


def test_a_row_file_stands_for_its_folder(one: Path, two: Path) -> None:
    assert compare(one / "row.json", two, league="1e-3").comparison == compare(one, two, league="1e-3").comparison


def test_by_default_the_league_is_the_tightest_in_which_either_was_edited(
    one: Path, two: Path, tmp_path: Path, suite: Path
) -> None:
    found = compare(one, two)
    assert (found.league, found.others) == ("1e-4", ("1e-3",))
    # Of country alone, 1e-4 left everything unedited.
    assert compare(one, two, tasks="country").league == "1e-3"
    idle = write_edit_run(tmp_path / "idle", suite, choices={"1e-3": UNEDITED, "1e-4": UNEDITED})
    assert compare(idle, one).league == "1e-4"
    never = compare(idle, idle)
    assert never.league == "1e-4"
    assert never.notes == ("left unedited in this league: first country, gender; second country, gender",)


def test_only_leagues_of_both_can_be_asked_for(one: Path, tmp_path: Path, suite: Path) -> None:
    wide = write_edit_run(tmp_path / "wide", suite, choices={"1e-3": CHOICES["1e-3"]})
    assert (compare(one, wide).league, compare(one, wide).others) == ("1e-3", ())
    with pytest.raises(UsageError, match="unknown league '1e-4' of these runs, must be one of 1e-3"):
        compare(one, wide, league="1e-4")
    tight = write_edit_run(tmp_path / "tight", suite, choices={"1e-4": CHOICES["1e-4"]})
    with pytest.raises(CanonbenchError, match="no league in common"):
        compare(wide, tight)


def test_a_fixed_checkpoint_can_be_compared_with_an_edit_run(tmp_path: Path, one: Path, suite: Path) -> None:
    fixed = write_fixed_run(tmp_path / "fixed", suite)
    found = compare(fixed, one, league="1e-3", suite=suite)
    # The checkpoint is seed 0's candidate, so only seed 1's differs: 75 against (75 + 50)/2.
    country = found.comparison.tasks["country"]
    assert (country.success.first, country.success.second, country.flips) == (75.0, 62.5, ())
    assert found.notes == ("in one of the runs only, left out: gender",)
    assert found.comparison.measure == "ratio"


def test_two_fixed_checkpoints_have_no_leagues_to_choose_from(tmp_path: Path, suite: Path) -> None:
    runs = [write_fixed_run(tmp_path / name, suite, taken=taken) for name, taken in (("a", (0, 2)), ("b", (1, 1)))]
    found = compare(*runs)
    assert (found.league, found.comparison.tasks["country"].success.delta) == (None, -25.0)
    with pytest.raises(UsageError, match="--league: neither is an edit run"):
        compare(*runs, league="1e-3")


def test_tasks_are_those_of_both_in_the_first_runs_order(one: Path, tmp_path: Path, suite: Path) -> None:
    assert list(compare(one, one, tasks=["gender", "country"]).comparison.tasks) == ["country", "gender"]
    assert list(compare(one, one, tasks=" gender ").comparison.tasks) == ["gender"]
    part = write_edit_run(tmp_path / "part", suite, tasks={"gender": TASKS["gender"]})
    with pytest.raises(UsageError, match="unknown task 'country' of both runs, must be one of gender"):
        compare(one, part, tasks="country")
    other = write_edit_run(tmp_path / "other", suite, tasks={"country": TASKS["country"]})
    with pytest.raises(CanonbenchError, match="no task in common"):
        compare(part, other)


def test_without_the_suite_the_numbers_are_the_same_and_a_note_says_what_is_missing(
    one: Path, two: Path, suite: Path
) -> None:
    found, whole = compare(one, two, league="1e-3"), compare(one, two, league="1e-3", suite=suite)
    assert found.comparison == whole.comparison
    assert found.texts == {}
    lack = "no texts: suite 'worked-out', as it was scored, is not at hand (--suite)"
    assert lack in found.notes
    assert lack not in whole.notes
    assert compare(one, one, league="1e-3").notes == ()  # no row changed sides, so no text is missed


def test_texts_of_another_suite_are_never_shown(one: Path, two: Path, suite: Path, tmp_path: Path) -> None:
    other = shutil.copytree(suite, tmp_path / "other")
    path = other / "country/test-evaluation.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Peru", "Cuba"), encoding="utf-8")
    with pytest.raises(CanonbenchError, match="suite 'worked-out' holds other data than what was scored"):
        compare(one, two, suite=other)
    with pytest.raises(UsageError, match="unknown suite"):
        compare(one, two, suite=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, r"they differ in split \(test and val\)$"),
        ({"protocol": "mine@0"}, r"protocol \(canonbench-1 and mine@0\)$"),
        ({"dtype": "bfloat16"}, r"dtype class \(float32 and half\)$"),
        ({"suite": {"name": "worked-out", "version": "1", "data_hash": "0" * 64}}, r"hash \(\w{12} and 0{12}\)"),
        ({"split": "val", "limit": 7}, r"split \(test and val\), limit \(None and 7\)$"),
    ],
)  # fmt: skip
def test_runs_of_another_comparable_group_are_refused_and_all_that_differs_is_named(
    one: Path, tmp_path: Path, suite: Path, changes: dict[str, Any], message: str
) -> None:
    other = write_edit_run(tmp_path / "other", suite, **changes)
    with pytest.raises(CanonbenchError, match=message):
        compare(one, other)


def test_rows_and_examples_of_two_runs_are_never_put_together(tmp_path: Path, suite: Path) -> None:
    one, two = (write_fixed_run(tmp_path / name, suite, taken=taken) for name, taken in (("a", (0, 2)), ("b", (1, 1))))
    compare(one, two)
    shutil.copy(two / "row.json", one / "row.json")
    with pytest.raises(CanonbenchError, match=r"the row and its examples\.parquet are not of one run .task 'country'"):
        compare(one, two)


def cut(folder: Path) -> None:
    path = folder / "examples.parquet"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"cannot read .*examples\.parquet"),
        (lambda folder: (folder / "examples.parquet").unlink(), r"row\.json has no examples\.parquet beside it"),
        (lambda folder: (folder / "row.json").unlink(), r"holds no finished run .there is no row\.json in it"),
        (lambda folder: (folder / "row.json").write_text("{}"), r"row\.json: schema: missing"),
        (shutil.rmtree, "no such run folder or row"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_in_one_line(one: Path, two: Path, damage: Any, message: str) -> None:
    damage(two)
    with pytest.raises(CanonbenchError, match=message) as caught:
        compare(one, two)
    assert str(two) in str(caught.value)
    assert "\n" not in str(caught.value)
