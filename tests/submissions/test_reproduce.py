"""``reproduce``: the same run gives the same numbers, another one does not, and the board says which is which."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from submission_cases import copy_of

from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.recompute import Compared, compared
from canonbench.results.row import Row
from canonbench.results.rows import read_rows
from canonbench.runs.progress import Progress
from canonbench.submissions.reproduce import reproduce
from canonbench.submissions.submit import submit
from canonbench.submissions.validate import validate
from tiny_models import save_tiny

PT = {"format": "pt"}


def again(world: Path, root: Path, wanted: str, tmp_path: Path, **how: Any) -> Any:
    places = {"model": world / "base", "suite": world / "suite", "run": tmp_path / "run"}
    return reproduce(wanted, root=root, **places | how)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_row_that_is_run_again_is_the_same_row(
    step_world: Path, step_board: Path, tmp_path: Path, split: str
) -> None:
    root = copy_of(step_board, tmp_path / "board")
    submit(step_world / "test", "step", root=root)
    before = {path: path.read_bytes() for path in root.rglob("*.jsonl")}
    done = again(step_world, root, "step.jsonl:1" if split == "val" else "step.jsonl:2", tmp_path)
    row = done.placed.row
    assert (row.split, done.agrees, done.changed) == (split, True, None)
    assert (done.again.leagues, done.again.general) == (row.leagues, row.general)
    assert [each.found for each in done.compared] == [each.said for each in done.compared]
    assert before == {path: path.read_bytes() for path in root.rglob("*.jsonl")}


def test_on_request_the_repetition_takes_the_row_s_place(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (placed,) = read_rows(root / "leaderboard/rows")
    done = again(step_world, root, placed.row.row_id[:6], tmp_path, write=True)
    old, new = (each.row for each in read_rows(root / "leaderboard/rows"))
    assert (new, new.state, new.submission) == (done.again, "reproduced", "step")
    assert new.provenance.note == f"repeats submitted row {placed.row.row_id}"
    assert [(flag.name, flag.reason) for flag in old.flags] == [("superseded", f"reproduced as row {new.row_id}")]
    assert old.leagues == placed.row.leagues
    assert [each for each in validate(root) if each.level != "note"] == []


def test_a_row_that_claims_more_is_not_reproduced_and_stays(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    path = root / "leaderboard/rows/step.jsonl"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["leagues"]["1e-3"]["average"]["success"] |= {"edited": 20.0, "delta": 3.333333}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    done = again(step_world, root, "step.jsonl:1", tmp_path, write=True)
    assert not done.agrees
    assert done.changed is None
    (far,) = (each for each in done.compared if not each.agrees)
    assert (far.where, far.said, round(far.found, 2), far.tolerance) == ("1e-3, average", 20.0, 16.67, 1.0)
    assert path.read_text(encoding="utf-8") == json.dumps(content) + "\n"


def test_tolerances_are_of_averages_tasks_and_the_base(step_board: Path) -> None:
    (placed,) = read_rows(step_board / "leaderboard/rows")
    content = placed.row.model_dump(mode="json", by_alias=True)
    for league in content["leagues"].values():
        task = league["tasks"]["verb"]["success"]
        task |= {"edited": task["edited"] + 4.9, "delta": task["delta"] + 4.9}
    nearly = Row.model_validate_json(json.dumps(content))
    assert all(each.agrees for each in compared(placed.row, nearly))
    assert [each.where for each in compared(placed.row, nearly, average=0.5) if not each.agrees] == [
        "1e-3, verb",
        "1e-4, verb",
        "1e-5, verb",
    ]
    assert Compared("", 1.0, 1.5, 0.5).agrees
    assert not Compared("", 1.0, 1.51, 0.5).agrees


@pytest.mark.parametrize(
    ("wanted", "how", "line"),
    [
        ("ffff", {}, r"no row 'ffff'; submitted rows are step\.jsonl:1 \("),
        (
            "step.jsonl:1",
            {"model": None},
            r"step\.jsonl:1 does not say where its base, 'base', can be found; give --mod",
        ),
        ("step.jsonl:1", {"suite": None}, "suite 'mini-slice' is not one of mini, published; say with --suite where"),
        ("step.jsonl:1", {"suite": "mini"}, "suite 'mini' holds other data than the row was measured on"),
    ],
)
def test_what_cannot_be_repeated_is_told_before_anything_runs(
    step_world: Path, step_board: Path, tmp_path: Path, wanted: str, how: dict[str, Any], line: str
) -> None:
    with pytest.raises(CanonbenchError, match=line):
        again(step_world, step_board, wanted, tmp_path, **how)
    assert not (tmp_path / "run").exists()


def test_another_base_is_refused_before_anything_runs(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", "llama", tokenizer="bos", seed=1, max_position_embeddings=2048)
    with pytest.raises(CanonbenchError, match="is not the base of this row: its weights or configuration differ"):
        again(step_world, step_board, "step.jsonl:1", tmp_path, model=other)
    assert not (tmp_path / "run").exists()


def test_reported_rows_cannot_be_repeated(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    path = root / "leaderboard/rows/step.jsonl"
    content = json.loads(path.read_text(encoding="utf-8")) | {"state": "reported", "examples": None}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be repeated: only submitted rows of edit runs can"):
        again(step_world, root, "step.jsonl:1", tmp_path)


def test_a_base_that_changes_while_a_row_is_repeated_ends_that(
    step_world: Path, step_board: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(step_world / "base", base)
    root = copy_of(step_board, tmp_path / "board")

    def say(line: str) -> None:
        if line.startswith("suite"):  # said after the base was proved and before it is loaded to be edited
            weights = load_file(base / "model.safetensors")
            save_file({name: 1.001 * value for name, value in weights.items()}, base / "model.safetensors", PT)

    progress = Progress(say)
    with pytest.raises(CanonbenchError, match="has changed while the row was repeated"):
        again(step_world, root, "step.jsonl:1", tmp_path, model=base, progress=progress)
