"""``submit``: what stands in the checkout afterwards, what is refused with nothing written, and how it is undone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from run_cases import edited_copy
from submission_cases import DESCRIBED, STEP, copy_of, describe, empty_board, run_step, submitted

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash
from canonbench.results.row import Row
from canonbench.results.rows import read_rows
from canonbench.results.submission import for_task, read_submission
from canonbench.runs.evaluate import evaluate
from canonbench.submissions.reproduce import reproduce
from canonbench.submissions.submit import submit, withdraw
from canonbench.submissions.validate import validate


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def test_a_submitted_run_is_a_row_its_examples_its_code_and_a_description_to_complete(
    step_world: Path, tmp_path: Path
) -> None:
    root = empty_board(tmp_path)
    done = submit(step_world / "val", "step", root=root, code=str(step_world / "step.py"))
    ((place, row),) = read_rows(root / "leaderboard/rows")
    measured = Row.read(step_world / "val/row.json")
    assert (place, row, row.state, row.submission) == ("step.jsonl:1", done.row, "submitted", "step")
    assert (row.leagues, row.general) == (measured.leagues, measured.general)
    assert row.examples is not None
    assert row.examples.sha256 == file_hash(root / row.examples.file)
    assert (root / "submissions/step/method.py").read_text(encoding="utf-8") == STEP
    assert set(files(root)) == set(done.written)
    todo = [each.message.partition(":")[0] for each in done.findings if each.level == "todo"]
    assert todo == ["summary", "authors.0", "contact", "tuning.how", "still has a TODO"]


def test_a_run_of_an_earlier_version_is_submitted_with_the_present_intervals_and_its_own_numbers(
    step_world: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(step_world / "val", tmp_path / "old")
    measured = Row.read(old / "row.json")
    content = json.loads(measured.to_json()) | {"schema": 2, "seed": 0}
    content["general"].pop("straddles")
    for league in content["leagues"].values():
        for part in (league["average"], *league["tasks"].values()):
            part["success"]["ci"] = [0.0, 0.0]
            part.pop("straddles", None)
    (old / "row.json").write_text(json.dumps(content), encoding="utf-8")
    root = empty_board(tmp_path / "board")
    row = submit(old, "step", root=root, code=str(step_world / "step.py")).row
    assert (row.leagues, row.general) == (measured.leagues, measured.general)
    content["leagues"]["1e-3"]["average"]["success"] |= {"edited": 99.0, "delta": 99.0}
    (old / "row.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"from its examples|is not edited - base"):
        submit(old, "other", root=root, code=str(step_world / "step.py"))


def test_no_place_on_this_machine_is_published(step_world: Path, step_board: Path) -> None:
    (placed,) = read_rows(step_board / "leaderboard/rows")
    assert (placed.row.model.name, placed.row.base and placed.row.base.name) == ("base", "base")
    for name, content in files(step_board).items():
        assert str(step_world).encode() not in content, name


def test_the_base_may_be_called_by_a_name_that_others_know(step_world: Path, tmp_path: Path) -> None:
    row = submitted(step_world, empty_board(tmp_path), model_name="someone/tiny@main").row
    assert (row.model.name, row.base and row.base.name) == ("someone/tiny@main", "someone/tiny@main")


def test_a_second_run_of_another_group_joins_and_one_of_the_same_needs_replace(
    step_world: Path, step_board: Path, tmp_path: Path
) -> None:
    root = copy_of(step_board, tmp_path / "board")
    submit(step_world / "test", "step", root=root)
    assert [each.row.split for each in read_rows(root / "leaderboard/rows")] == ["val", "test"]
    before = files(root)
    with pytest.raises(UsageError, match=r"has a row on 'base' in this group already .*--replace"):
        submit(step_world / "val", "step", root=root)
    assert files(root) == before
    other = run_step(step_world, "other-val", method=root / "submissions/step", settings={"by": 3e-5})
    done = submit(other, "step", root=root, replace=True)
    assert len(done.deleted) == 1
    assert done.deleted[0].startswith("submissions/step/examples-")
    assert [each.row.split for each in read_rows(root / "leaderboard/rows")] == ["test", "val"]
    assert [each for each in validate(root) if each.level != "note"] == []


def test_undo_leaves_the_checkout_as_it_was(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path / "new")
    how = {"root": root, "code": str(step_world / "step.py")}
    submit(step_world / "val", "step", **how)
    withdraw(step_world / "val", "step", **how)
    assert files(root) == {}
    assert list((root / "submissions").iterdir()) == []
    root = copy_of(step_board, tmp_path / "board")
    before = files(root)
    submit(step_world / "test", "step", root=root)
    withdraw(step_world / "test", "step", root=root, code=str(step_world / "step.py"))
    assert files(root) == before


def test_what_a_killed_submit_left_half_written_is_cleared_away(
    step_world: Path, step_board: Path, tmp_path: Path
) -> None:
    root = copy_of(step_board, tmp_path / "board")
    left = root / "submissions/step/.examples-0123456789ab.parquet.part"
    left.write_bytes(b"half")
    done = submit(step_world / "test", "step", root=root)
    assert not left.exists()
    assert done.deleted == ("submissions/step/.examples-0123456789ab.parquet.part",)
    assert [each for each in validate(root) if each.level != "note"] == []


def test_an_undo_that_was_killed_is_finished_by_the_same_command(
    step_world: Path, step_board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(step_board, tmp_path / "board")
    before = files(root)
    submit(step_world / "test", "step", root=root)
    how = {"root": root, "code": str(step_world / "step.py")}
    unlink = Path.unlink

    def dying(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name.startswith("examples-"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dying)
        with pytest.raises(KeyboardInterrupt):
            withdraw(step_world / "test", "step", **how)
    withdraw(step_world / "test", "step", **how)
    assert files(root) == before


def test_undo_keeps_what_a_person_wrote_and_says_so(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    done = withdraw(step_world / "val", "step", root=root, code=str(step_world / "step.py"))
    assert done.kept == ("submissions/step/README.md", "submissions/step/submission.yaml")
    assert set(files(root)) == set(done.kept)
    with pytest.raises(UsageError, match="is not on the board as a row of 'step'"):
        withdraw(step_world / "val", "step", root=root, code=str(step_world / "step.py"))


def test_other_code_than_the_run_used_is_refused(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    code = root / "submissions/step/method.py"
    code.write_text(STEP.replace("range(2)", "range(3)"), encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"submissions/step has other code \(method.py:edit\) than this run used"):
        submit(step_world / "test", "step", root=root)
    with pytest.raises(CanonbenchError, match=r"the method's code, gone\.py, is not found; say with --code"):
        submit(step_world / "val", "new", root=root, code="gone.py")


def test_a_partial_or_damaged_run_is_refused_and_nothing_is_written(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path / "board")
    how = {"root": root, "code": str(step_world / "step.py")}
    some = run_step(step_world, "some", tasks="country,verb")
    with pytest.raises(CanonbenchError, match="partial: the standard tasks company, stereoset, gender, temporal are"):
        submit(some, "step", **how)
    limited = run_step(step_world, "limited", limit=2)
    with pytest.raises(CanonbenchError, match=r"partial: only the first 2 rows of every file were scored"):
        submit(limited, "step", **how)
    changed = tmp_path / "changed"
    shutil.copytree(step_world / "val", changed)
    row = json.loads((changed / "row.json").read_text())
    row["leagues"]["1e-3"]["tasks"]["verb"]["ratio"] += 1e-9
    (changed / "row.json").write_text(json.dumps(row))
    with pytest.raises(CanonbenchError, match=r"leagues.1e-3.tasks.verb.ratio: .* in the row, .* from its examples"):
        submit(changed, "step", **how)
    with pytest.raises(UsageError, match="'My Step' cannot be a submission's name"):
        submit(step_world / "val", "My Step", **how)
    with pytest.raises(UsageError, match="is not in a checkout of the leaderboard"):
        submit(step_world / "val", "step", root=tmp_path / "elsewhere")
    assert files(root) == {}


def test_a_built_in_method_needs_no_code_of_its_own(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path)
    run = run_step(step_world, "bitfit", method="bitfit", settings={"epochs": 1, "lr": 1e-5, "norms": True})
    submit(run, "bitfit", root=root)
    describe(root, "bitfit")
    record = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
    record["identity"]["code"] = "0" * 64
    (run / "run.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    *_, note = submit(run, "bitfit", root=root, replace=True).findings
    assert (note.level, note.message[:42]) == ("note", "the code of bitfit has changed since the r")
    described = read_submission(root / "submissions/bitfit")
    assert (described.method, described.hyperparameters["epochs"]) == ("bitfit", 1)
    assert [each for each in validate(root) if each.level != "note"] == []


def test_a_folder_written_beforehand_is_taken_as_it_is(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path)
    folder = root / "submissions/mine"
    folder.mkdir()
    (folder / "method.py").write_text(STEP, encoding="utf-8")
    content = {"schema": 1, "title": "Mine", "method": "method.py:edit", "hyperparameters": {"by": 2e-5}}
    content |= DESCRIBED | {"tuning": {"how": "by hand"}, "models": ["base"]}
    (folder / "submission.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (folder / "README.md").write_text("# Mine\n", encoding="utf-8")
    run = run_step(step_world, "mine", method=folder)
    done = submit(run, "mine", root=root)
    assert done.row.hyperparameters == {"by": 2e-5}
    assert [each.rpartition("/")[2][:8] for each in done.written] == ["examples", "mine.jso"]
    assert [each for each in done.findings if each.level == "todo"] == []
    withdraw(run, "mine", root=root)
    assert set(files(root)) == {f"submissions/mine/{name}" for name in ("method.py", "README.md", "submission.yaml")}


@pytest.mark.parametrize("reference", ["", "/method.py", "/scale.py:edit"])
def test_code_that_was_written_in_its_place_is_described_and_outlives_an_undo(
    step_world: Path, tmp_path: Path, reference: str
) -> None:
    root = empty_board(tmp_path)
    folder = root / "submissions/mine"
    folder.mkdir()
    file = folder / (reference.strip("/").removesuffix(":edit") or "method.py")
    file.write_text(STEP, encoding="utf-8")
    run = run_step(step_world, f"own-{len(reference)}", method=f"{folder}{reference}")
    submit(run, "mine", root=root)
    assert read_submission(folder, drafts=True).method == f"{file.name}:edit"
    withdraw(run, "mine", root=root)
    assert set(files(root)) == {f"submissions/mine/{file.name}"}


def test_an_edited_checkpoint_is_submitted_without_a_method(step_world: Path, tmp_path: Path) -> None:

    root = empty_board(tmp_path / "board")
    edited = edited_copy(step_world / "base", tmp_path / "edited", by=1.0001)
    evaluate(str(edited), base=str(step_world / "base"), suite=step_world / "suite", run=tmp_path / "run")
    row = submit(tmp_path / "run", "scaled", root=root, model_name="someone/tiny").row
    assert (row.model.name, row.base and row.base.name, row.track) == ("edited", "someone/tiny", "joint")
    assert read_submission(root / "submissions/scaled", drafts=True).method is None


FIRST, REST = "company,stereoset", "country,gender,temporal,verb"


def test_runs_of_different_tasks_make_the_row_that_one_run_of_all_makes(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path)
    parts = [run_step(step_world, name, tasks=tasks) for name, tasks in (("part-1", FIRST), ("part-2", REST))]
    whole, row = Row.read(step_world / "val/row.json"), submitted(step_world, root, parts).row
    assert (row.leagues, row.general, row.hyperparameters) == (whole.leagues, whole.general, whole.hyperparameters)
    assert [each for each in validate(root) if each.level != "note"] == []
    before = files(root)
    with pytest.raises(UsageError, match="--replace"):
        submit(parts[::-1], "step", root=root)
    assert files(root) == before
    withdraw(parts, "step", root=root, code=str(step_world / "step.py"))
    assert list(read_rows(root / "leaderboard/rows")) == []


def test_tasks_may_have_hyperparameters_of_their_own_and_are_reproduced_with_them(
    step_world: Path, tmp_path: Path
) -> None:
    root = empty_board(tmp_path / "board")
    parts = [
        run_step(step_world, f"by-{by}", tasks=tasks, settings={"by": by, "name": "x"})
        for by, tasks in ((1e-6, FIRST), (2e-5, REST))
    ]
    row = submitted(step_world, root, parts).row
    assert row.hyperparameters is not None
    assert row.hyperparameters["name"] == "x"
    assert row.hyperparameters["by_task"]["verb"] == {"by": 2e-5}
    assert for_task(row.hyperparameters, "company") == {"by": 1e-6, "name": "x"}
    assert [each for each in validate(root) if each.level != "note"] == []
    places = {"model": step_world / "base", "suite": step_world / "suite", "run": tmp_path / "again"}
    done = reproduce("step.jsonl:1", root=root, write=True, **places)
    assert done.again.leagues == row.leagues
    assert done.again.hyperparameters == row.hyperparameters
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"company", "country"}


def test_a_draft_of_tasks_with_hyperparameters_of_their_own_has_those_that_they_share(
    step_world: Path, tmp_path: Path
) -> None:
    root = empty_board(tmp_path)
    parts = [
        run_step(step_world, f"ctx-{shots}", method="in-context", tasks=tasks, settings={"shots": shots})
        for shots, tasks in ((1, FIRST), (2, REST))
    ]
    submit(parts, "ctx", root=root)
    describe(root, "ctx")
    assert read_submission(root / "submissions/ctx").hyperparameters == {"separator": "\n"}
    assert [each for each in validate(root) if each.level != "note"] == []


def test_runs_that_do_not_belong_together_are_refused(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path)
    how = {"root": root, "code": str(step_world / "step.py")}
    first = run_step(step_world, "part-1", tasks=FIRST)
    with pytest.raises(CanonbenchError, match="has task 'company' as well; give every task once"):
        submit([step_world / "val", first], "step", **how)
    with pytest.raises(CanonbenchError, match="cannot be put together: they differ in data or rules"):
        submit([first, run_step(step_world, "rest-test", tasks=REST, split="test", seeds=1)], "step", **how)
    with pytest.raises(CanonbenchError, match="cannot be put together: they differ in leagues"):
        submit([first, run_step(step_world, "rest-1e-3", tasks=REST, leagues=["1e-3"])], "step", **how)
    with pytest.raises(UsageError, match="no run given"):
        submit([], "step", **how)
    assert files(root) == {}
