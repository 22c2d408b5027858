"""``validate``: a valid board has no finding, and every kind of damage has one that names the place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from submission_cases import copy_of, describe, empty_board, run_step

from canonbench.errors import UsageError
from canonbench.files import file_hash
from canonbench.results.compact import read_examples, write_examples
from canonbench.results.row import Row
from canonbench.results.rows import read_rows, write_rows_file
from canonbench.submissions.submit import submit
from canonbench.submissions.validate import validate

ROWS = "leaderboard/rows/step.jsonl"
FOLDER = "submissions/step"


def findings(root: Path) -> list[str]:
    return [str(each) for each in validate(root) if each.level != "note"]


def change_row(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let ``change`` edit the JSON of the one row."""
    path = root / ROWS
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def change_examples(root: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Put other examples in the place of the row's, with the hashes that they have."""
    (placed,) = read_rows(root / "leaderboard/rows")
    assert placed.row.examples is not None
    old = root / placed.row.examples.file
    new = write_examples(change(read_examples(old)), root / FOLDER)
    old.unlink()
    reference = {"file": f"{FOLDER}/{new.name}", "sha256": file_hash(new)}
    change_row(root, lambda row: row.update(examples=reference))


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where numbers stand in JSON content."""
    if isinstance(content, dict | list):
        for key, each in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(each, (*path, key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield path


def replaced(table: pa.Table, name: str, row: int, value: Any) -> pa.Table:
    values = table.column(name).to_pylist()
    values[row] = value
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, type=table.schema.field(name).type))


def shifted(table: pa.Table, by: float) -> pa.Table:
    """All scores of country, losses and all, raised by ``by`` nats."""
    is_country = pc.and_(pc.equal(table["task"], "country"), pc.not_equal(table["part"], "general"))
    for name, sign in (("base_log_p_a", 1), ("edited_log_p_a", 1), ("base_loss", -1), ("edited_loss", -1)):
        moved = pc.if_else(is_country, pc.add(table[name], sign * by), table[name])
        table = table.set_column(table.column_names.index(name), name, moved)
    return table


def test_a_submitted_and_described_run_is_valid(step_board: Path) -> None:
    assert findings(step_board) == []
    assert findings(step_board / FOLDER) == []
    (note,) = validate(step_board)
    assert "suite 'mini-slice' is not one of mini, published, so its rows were not compared with it" in str(note)


ROW_DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "number": (
        lambda row: row["leagues"]["1e-4"]["tasks"]["verb"]["hard_negatives"].update(n=4),
        f"{ROWS}:1: leagues.1e-4.tasks.verb.hard_negatives.n: 4 in the row, 3 from its examples",
    ),
    "schema": (lambda row: row.update(schema=4), f"{ROWS}:1: schema: Input should be 3"),
    "state": (
        lambda row: row.update(state="measured", examples=None),
        f"{ROWS}:1: a measured row has no examples here",
    ),
    "hash": (
        lambda row: row["examples"].update(sha256="0" * 64),
        f"{ROWS}:1: examples.file: must be {FOLDER}/examples-000000000000.parquet",
    ),
    "outside": (
        lambda row: row["examples"].update(file="../examples.parquet"),
        f"{ROWS}:1: examples.file: must be {FOLDER}/examples-",
    ),
    "protocol": (lambda row: row.update(protocol="mine@1"), f"{ROWS}:1: protocol 'mine@1' is not a standard one"),
    "limit": (lambda row: row.update(limit=3), f"{ROWS}:1: partial: only the first 3 rows of every file were scored"),
    "place": (
        lambda row: row["model"].update(name="/home/me/base"),
        f"{ROWS}:1: names a place on one machine, /home/me/base",
    ),
    "secret": (
        lambda row: row["hyperparameters"].update(token="hf_" + "aB3" * 11),
        f"{ROWS}:1: looks like a secret (Hugging Face token)",
    ),
    "nobody": (lambda row: row.update(submission="nobody"), f"{ROWS}:1: there is no folder submissions/nobody"),
    "suite": (
        lambda row: row["suite"].update(name="mini"),
        f"{ROWS}:1: scored on other data than suite 'mini', version 1",
    ),
}


@pytest.mark.parametrize("damage", ROW_DAMAGE)
def test_a_row_that_is_not_what_it_says_is_found(step_board: Path, tmp_path: Path, damage: str) -> None:
    change, line = ROW_DAMAGE[damage]
    root = copy_of(step_board, tmp_path / "board")
    change_row(root, change)
    found = findings(root)
    assert any(each.startswith(line) for each in found), found
    assert not any("\n" in each for each in found)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_measured_number_can_be_changed_unseen(step_board: Path, tmp_path: Path, data: st.DataObject) -> None:
    """In the last decimal that the row keeps."""
    root = tmp_path / "board"
    if not root.exists():
        copy_of(step_board, root)
    original = (step_board / ROWS).read_text(encoding="utf-8")
    content = json.loads(original)
    measured = {key: content[key] for key in ("general", "leagues")}
    *way, last = data.draw(st.sampled_from(list(leaves(measured))))
    part = content
    for key in way:
        part = part[key]
    ratio = last in ("ratio", "noise_floor") or "ratio_ci" in way
    part[last] = part[last] + 1 if isinstance(part[last], int) else part[last] + (1e-9 if ratio else 1e-6)
    (root / ROWS).write_text(json.dumps(content) + "\n", encoding="utf-8")
    assert any(each.startswith(f"{ROWS}:1: ") for each in findings(root)), (way, last)


EXAMPLE_DAMAGE: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "value": (
        lambda table: replaced(table, "edited_log_p_a", 7, -1.0),
        "has edited_loss",
    ),
    "probability": (lambda table: shifted(table, 200.0), "a probability above 1"),
    "missing": (lambda table: table.slice(1), "differs from that of the unedited model"),
    "column": (lambda table: table.drop_columns(["clean"]), "missing column clean"),
    "index": (lambda table: replaced(table, "index", 0, 9), "differs from that of the unedited model"),
}


@pytest.mark.parametrize("damage", EXAMPLE_DAMAGE)
def test_examples_that_the_row_does_not_follow_from_are_found(step_board: Path, tmp_path: Path, damage: str) -> None:
    change, words = EXAMPLE_DAMAGE[damage]
    root = copy_of(step_board, tmp_path / "board")
    change_examples(root, change)
    assert any(each.startswith(f"{ROWS}:1: ") and words in each for each in findings(root)), findings(root)


def test_a_folder_or_a_pipe_where_rows_should_be_is_found(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (root / "leaderboard/rows/odd.jsonl").mkdir()
    os.mkfifo(root / "leaderboard/rows/pipe.jsonl")
    os.mkfifo(root / FOLDER / "pipe.md")
    found = findings(root)
    assert "leaderboard/rows/odd.jsonl: cannot read leaderboard/rows/odd.jsonl: Is a directory" in found
    assert "leaderboard/rows/pipe.jsonl: cannot read leaderboard/rows/pipe.jsonl: it is not a regular file" in found
    assert any(each.startswith(f"{FOLDER}/pipe.md: ") and "not a regular file" in each for each in found)


def test_examples_on_the_hub_are_noted_and_not_looked_at(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (path,) = (root / FOLDER).glob("*.parquet")
    path.unlink()
    address = "hf://datasets/someone/step@0123abc/examples.parquet"
    change_row(root, lambda row: row["examples"].update(file=address))
    (note,) = validate(root)
    assert (note.level, note.place) == ("note", f"{ROWS}:1")
    assert note.message == f"its examples are on the hub and were not looked at: {address}"


def test_examples_of_other_bytes_or_none_are_found(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (path,) = (root / FOLDER).glob("*.parquet")
    path.write_bytes(path.read_bytes() + b"x")
    assert any("has the SHA-256" in each for each in findings(root))
    path.unlink()
    assert findings(root) == [f"{ROWS}:1: {FOLDER}/{path.name} is missing"]


TEXT_DAMAGE: dict[str, tuple[str, str, str]] = {
    "todo": ("submission.yaml", "summary: 'TODO: say it'\n", "summary: still to be filled in"),
    "key": ("submission.yaml", "\nautors: [x]\n", "unknown key 'autors'"),
    "yaml": ("submission.yaml", "\n  - : [\n", "not valid YAML"),
    "key twice": ("submission.yaml", "\ntitle: x\n", "the key 'title' is given twice"),
    "settings": ("submission.yaml", "method: lora\nhyperparameters: {rnk: 3}\n", "unknown setting 'rnk'"),
    "import": ("method.py", "\nimport no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "exit": ("method.py", "\nraise SystemExit(0)\n", "cannot be imported: it ends the program (sys.exit(0))"),
    "end": ("method.py", "\nimport os\nos._exit(0)\n", "ends the program when it is imported (exit code 0)"),
    "killed": (
        "method.py",
        "\nimport os\nos.kill(os.getpid(), 9)\n",
        "method method.py:edit: ends the program when it is imported (killed by SIGKILL)",
    ),
    "syntax": ("method.py", "\ndef (:\n", "cannot be imported: SyntaxError"),
    "path": ("method.py", "\nWEIGHTS = '/home/me/weights'\n", "names a place on one machine, /home/me/weights"),
    "windows": ("README.md", "\nin C:\\Users\\me\\runs\n", "names a place on one machine, C:\\Users\\me\\runs"),
    "key-pair": ("README.md", "\n-----BEGIN RSA " + "PRIVATE KEY-----\n", "looks like a secret (Private Key)"),
    "token": ("method.py", "\nT = 'hf_" + "aB3" * 11 + "'\n", "looks like a secret (Hugging Face token)"),
    "aws": ("method.py", "\nT = 'AKIA" + "IOSFODNN7EXAMPLQ'\n", "looks like a secret (AWS Access Key)"),
    "notebook": ("notes.ipynb", "{}", "only .yaml, .md, .py, .txt, .bib"),
    "weights": ("delta.safetensors", "x", "only .yaml, .md, .py"),
    "unused": ("examples-0123456789ab.parquet", "x", "no row names it; delete it"),
    "large": ("long.txt", "x" * 2**18 + "x", "larger than 256 KiB"),
}


@pytest.mark.parametrize("damage", TEXT_DAMAGE)
def test_a_folder_with_something_wrong_in_it_is_found(step_board: Path, tmp_path: Path, damage: str) -> None:
    name, text, words = TEXT_DAMAGE[damage]
    root = copy_of(step_board, tmp_path / "board")
    path = root / FOLDER / name
    if damage in ("todo", "settings"):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) | yaml.safe_load(text)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
    else:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    found = findings(root)
    assert any(each.startswith(f"{FOLDER}/{name}") or name == "method.py" for each in found), found
    assert any(words in each for each in found), found
    assert not any(str(root) in each or "\n" in each for each in found), found


def test_addresses_and_everyday_writing_are_no_places(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    text = "\n#!/usr/bin/env python\nsee https://example.org/a/b, and/or docs/a.md; 1/2/3; hf://datasets/a/b@c/d\n"
    with (root / FOLDER / "README.md").open("a", encoding="utf-8") as file:
        file.write(text)
    assert findings(root) == []


def test_a_link_a_missing_readme_and_a_bad_name_are_found(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (root / FOLDER / "README.md").unlink()
    (root / FOLDER / "more.py").symlink_to("method.py")
    (root / "submissions/My_Step").mkdir()
    found = findings(root)
    assert f"{FOLDER}/README.md: missing: say what the method does and how its rows were made" in found
    assert f"{FOLDER}/more.py: is a link; put the file itself here" in found
    assert any(each.startswith("submissions/My_Step: a submission's name") for each in found)


def test_rows_that_contradict_each_other_are_found(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (placed,) = read_rows(root / "leaderboard/rows")
    other = Row.model_validate(placed.row.model_dump(by_alias=True) | {"seconds": 1.0})
    write_rows_file(root / ROWS, [placed.row, other, placed.row])
    found = findings(root)
    assert any(each.startswith(f"{ROWS}:2: submission 'step' has a row on 'base' here already") for each in found)
    assert f"{ROWS}:3: the same row as step.jsonl:1" in found
    content = other.model_dump(by_alias=True)
    content["flags"] = [{"name": "superseded", "reason": "by the first"}]
    write_rows_file(root / ROWS, [placed.row, Row.model_validate(content)])
    assert findings(root) == []


def test_one_base_has_one_score(step_world: Path, step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    submit(step_world / "val", "copy", root=root, code=str(step_world / "step.py"))
    describe(root, "copy")
    assert findings(root) == []
    path = root / "leaderboard/rows/copy.jsonl"
    content = json.loads(path.read_text(encoding="utf-8"))
    for league in content["leagues"].values():
        league["tasks"]["stereoset"]["success"] |= {"base": 66.666667, "edited": 66.666667}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    line = "stereoset: the base succeeds on 100.00 %, the same base on 66.67 % in copy.jsonl:1"
    assert f"{ROWS}:1: {line}" in findings(root)


def test_a_row_of_the_embedded_suite_is_compared_with_it(step_world: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path)
    run = run_step(step_world, "mini", suite="mini")
    submit(run, "step", root=root)
    describe(root)
    assert validate(root) == []
    first = "company evaluation: row 0 is about 'Atlantis', in suite 'mini' about "
    change_examples(root, lambda table: replaced(replaced(table, "subject", 0, "Atlantis"), "subject", 1, "Atlantis"))
    assert any(each.startswith(f"{ROWS}:1: {first}") for each in findings(root)), findings(root)


def test_the_published_suite_s_size_is_known_without_it(
    step_board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)
    root = copy_of(step_board, tmp_path / "board")
    change_row(root, lambda row: row["suite"].update(name="published", version="15a1e7b0c726"))
    found = findings(root)
    assert f"{ROWS}:1: country evaluation: 3 rows, suite 'published' has 582" in found
    assert f"{ROWS}:1: verb hard_negatives: 3 rows, suite 'published' has 720" in found
    change_row(root, lambda row: row["suite"].update(version="of another day"))
    assert findings(root) == []


def test_what_is_no_checkout_is_a_misuse(step_board: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in a checkout"):
        validate(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        validate(tmp_path / "nothing")
    with pytest.raises(UsageError, match="is neither a checkout nor a folder under its submissions"):
        validate(step_board / "leaderboard")


def test_reported_rows_need_no_examples_but_a_folder_that_is_there(step_board: Path, tmp_path: Path) -> None:
    root = copy_of(step_board, tmp_path / "board")
    (placed,) = read_rows(root / "leaderboard/rows")
    content = placed.row.model_dump(by_alias=True) | {"state": "reported", "examples": None, "submission": None}
    content["provenance"] = {"source": "A paper, 2024", "note": None}
    write_rows_file(root / "leaderboard/rows/paper.jsonl", [Row.model_validate(content)])
    assert findings(root) == []
    write_rows_file(root / "leaderboard/rows/paper.jsonl", [Row.model_validate(content | {"submission": "nowhere"})])
    assert findings(root) == ["leaderboard/rows/paper.jsonl:1: there is no folder submissions/nowhere"]
