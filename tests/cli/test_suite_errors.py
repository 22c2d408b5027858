"""A suite with something wrong in it: the file and, where there is one, the line are named; nothing is scored."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import EVALUATE, Canonbench, change_yaml, replace_line

from canonbench.suite.example import canonical_subjects

ROWS = "suite/country/test-evaluation.jsonl"
PAIRS = "suite/gender/test-evaluation.jsonl"
LONG = '{"prefix": "a", "suffix": " ' + "word " * 300 + '"}'

LINES = {
    "cut short": (ROWS, '{"prefix": ', ": not valid JSON"),
    "not an object": (ROWS, "[]", ": a row must be a JSON object"),
    "a number for a text": (ROWS, '{"prefix": "a", "suffix": 7}', ": 'suffix' must be a string, not int"),
    "no prefix": (ROWS, '{"suffix": " b"}', ": 'prefix' is missing"),
    "no suffix": (ROWS, '{"prefix": "a"}', ": needs 'suffix', or 'suffix1' and 'suffix2'"),
    "no second suffix": (PAIRS, '{"prefix": "a", "suffix": " he"}', ": this task's loss compares 'suffix1'"),
    "two kinds of suffix": (
        ROWS,
        '{"prefix": "a", "suffix": " b", "suffix1": " c", "suffix2": " d"}',
        ": has both 'suffix' and 'suffix1'",
    ),
    "a key twice": (ROWS, '{"prefix": "a", "suffix": " b", "suffix": " c"}', ": the key 'suffix' is given twice"),
    "half a character": (ROWS, r'{"prefix": "a\ud800", "suffix": " b"}', ": half a character"),
    "NUL": (ROWS, r'{"prefix": "a\u0000", "suffix": " b"}', ": a NUL character"),
    "deep": (ROWS, '{"prefix": ' + "[" * 50_000, ": nested more than 64 levels deep"),
    "no tokens": (ROWS, '{"prefix": "a", "suffix": ""}', ": the continuation '' has no tokens"),
    "too long": (ROWS, LONG, "tokens, but the model's context is 256"),
    "no general text": ("suite/general/test.jsonl", '{"txt": "a"}', ": 'text' is missing"),
}


@pytest.mark.parametrize(("file", "line", "says"), LINES.values(), ids=LINES)
def test_a_bad_line_is_named_by_file_and_line(
    canonbench: Canonbench, world: Path, file: str, line: str, says: str
) -> None:
    replace_line(world / file, 3, line)
    outcome = canonbench(*EVALUATE)
    assert outcome.code == 1
    assert outcome.error.startswith(f"{file}:3: ")
    assert says.removeprefix(": ") in outcome.error
    assert not outcome.out
    assert not list(world.glob("canonbench-runs/*/row.json"))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_text(""), f"{ROWS}: no rows to score"),
    "missing": (lambda path: path.unlink(), f"cannot read {ROWS}: No such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), f"cannot read {ROWS}: Is a directory"),
    "UTF-16": (lambda path: path.write_text(path.read_text(), encoding="utf-16"), f"{ROWS}: not UTF-8 text but UTF-16"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), f"cannot read {ROWS}: it is not a regular file"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff\xfe\n"), f"{ROWS}: not UTF-8 text but UTF-16"),
}


@pytest.mark.parametrize(("damage", "says"), FILES.values(), ids=FILES)
def test_a_bad_file_is_named(canonbench: Canonbench, world: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(world / ROWS)
    outcome = canonbench(*EVALUATE)
    assert outcome.code == 1
    assert says in outcome.error


SPECS: dict[str, tuple[Callable[[dict[str, Any]], object], int, str]] = {
    "unknown loss": (
        lambda spec: spec["tasks"]["mine"].update(loss="likelyhood"),
        2,
        "unknown loss 'likelyhood' of task 'mine', must be one of "
        "balance, likelihood, nll, preference. Did you mean 'likelihood'?",
    ),
    "no threshold": (
        lambda spec: spec["tasks"]["mine"].pop("threshold"),
        1,
        "task 'mine' is not one of the six standard ones and needs a 'threshold:'",
    ),
    "threshold in words": (
        lambda spec: spec["tasks"]["mine"].update(threshold="low"),
        1,
        "tasks.mine.threshold: Input should be a valid number",
    ),
    "threshold that is no number": (
        lambda spec: spec["tasks"]["mine"].update(threshold=float("nan")),
        1,
        "tasks.mine.threshold: Input should be a finite number",
    ),
    "threshold without end": (
        lambda spec: spec["tasks"]["mine"].update(threshold=float("-inf")),
        1,
        "tasks.mine.threshold: Input should be a finite number",
    ),
    "threshold of 1e999": (
        lambda spec: spec["tasks"]["mine"].update(threshold="1e999"),
        1,
        "tasks.mine.threshold: Input should be a finite number",
    ),
    "a broken pattern": (
        lambda spec: spec["tasks"]["mine"].update(subject={"canonical_pattern": "year ("}),
        1,
        "tasks.mine.subject.canonical_pattern: 'year (' is not a regular expression: missing )",
    ),
    "a pattern without a group": (
        lambda spec: spec["tasks"]["mine"].update(subject={"canonical_pattern": "year .*"}),
        1,
        "tasks.mine.subject.canonical_pattern: 'year .*' has no group; put what is the subject in parentheses",
    ),
    "a task with a path for a name": (
        lambda spec: spec["tasks"].update({"../mine": spec["tasks"].pop("mine")}),
        1,
        "'../mine' must not begin with a dot or hold a slash",
    ),
    "a name that is too long": (
        lambda spec: spec.update(name="x" * 300),
        1,
        "name: must have at most 100 characters, not 300",
    ),
    "NUL in a name": (lambda spec: spec.update(name="a\0b"), 1, r"a NUL character in 'a\x00b'"),
    "rows from the end": (
        lambda spec: spec["tasks"]["mine"]["test"].update(evaluation={"path": "x", "rows": [-3, None]}),
        1,
        "tasks.mine.test.evaluation.rows.0: Input should be greater than or equal to 0",
    ),
    "unknown key": (lambda spec: spec.update(nmae="x"), 2, "unknown key 'nmae'"),
    "unknown key of a task": (
        lambda spec: spec["tasks"]["mine"].update(treshold=1),
        2,
        "tasks.mine: unknown key 'treshold', must be one of loss, subject, success, test, threshold, val. "
        "Did you mean 'threshold'?",
    ),
    "no evaluation file": (
        lambda spec: spec["tasks"]["mine"]["test"].pop("evaluation"),
        1,
        "tasks.mine.test.evaluation: missing",
    ),
    "no tasks": (lambda spec: spec.update(tasks={}), 1, "tasks: "),
}


@pytest.mark.parametrize(("change", "code", "says"), SPECS.values(), ids=SPECS)
def test_a_fault_in_suite_yaml_is_said_in_words(
    canonbench: Canonbench, world: Path, change: Callable[[dict[str, Any]], object], code: int, says: str
) -> None:
    change_yaml(world / "suite/suite.yaml", change)
    outcome = canonbench(*EVALUATE)
    assert outcome.code == code
    assert outcome.error.startswith("suite/suite.yaml: ")
    assert says in outcome.error


def test_a_suite_yaml_that_is_no_yaml_is_named_by_line(canonbench: Canonbench, world: Path) -> None:
    (world / "suite/suite.yaml").write_text("name: x\ntasks: [\n")
    assert canonbench("tasks", "--suite", "suite").error.startswith("suite/suite.yaml:3: not valid YAML")
    (world / "suite/suite.yaml").write_text("")
    assert "must hold 'key: value' lines" in canonbench("tasks", "--suite", "suite").error
    (world / "suite/suite.yaml").unlink()
    assert "cannot read suite/suite.yaml" in canonbench("tasks", "--suite", "suite").error


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_a_suite_yaml_that_never_ends_is_refused(canonbench: Canonbench, world: Path, place: str) -> None:
    path = world / "suite/suite.yaml"
    path.unlink()
    if place == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(place)
    assert canonbench("tasks", "--suite", "suite").error == "cannot read suite/suite.yaml: it is not a regular file"


def test_a_pattern_that_would_run_for_ever_is_cut_off(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canonbench.suite.example.PATTERN_SECONDS", 0.3)
    change_yaml(
        world / "suite/suite.yaml",
        lambda spec: spec["tasks"]["country"].update(subject={"canonical_pattern": r"^((a|\w|.)+)+\d$"}),
    )
    start = time.monotonic()
    outcome = canonbench(*EVALUATE)
    assert outcome.code == 1
    assert "takes more than 0.3 s on the canonical examples; write it without repetitions inside" in outcome.error
    assert time.monotonic() - start < 10


def test_a_group_that_takes_no_part_names_no_subject() -> None:
    rows = [{"prefix": "The nurse said"}, {"prefix": "He said"}]
    assert canonical_subjects("^(?:The (.+)|He) said", rows) == ["nurse"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"flags": {"x.jsonl": {"odd": [3, -1]}}, "unclean": {}}, "flags.x.jsonl.odd.1: Input should be greater than"),
        ({"flags": {"x.jsonl": {"odd": [1.5]}}, "unclean": {}}, "flags.x.jsonl.odd.0: Input should be a valid integer"),
        ({"flags": {}}, "unclean: missing"),
        ([], "expected a JSON object, found a list"),
    ],
)
def test_flags_that_are_none_are_named(canonbench: Canonbench, world: Path, flags: Any, says: str) -> None:
    (world / "suite/flags.json").write_text(json.dumps(flags))
    change_yaml(world / "suite/suite.yaml", lambda spec: spec.update(flags={"path": "flags.json"}))
    outcome = canonbench("tasks", "--suite", "suite")
    assert outcome.code == 1
    assert "suite/flags.json: " in outcome.error
    assert says in outcome.error


def test_a_task_without_the_split_is_refused_where_it_is_asked_for(canonbench: Canonbench, world: Path) -> None:
    change_yaml(world / "suite/suite.yaml", lambda spec: spec["tasks"]["mine"].pop("test"))
    outcome = canonbench(*EVALUATE)
    assert outcome.code == 2
    assert "unknown split 'test' of task 'mine', must be one of val." in outcome.error


PROTOCOLS = {
    "unknown key": ("name: x\nleages: [1e-3]\n", 2, "unknown protocol key 'leages'"),
    "no name": ("leagues: [1e-3]\n", 1, "give it a name"),
    "no list": ("name: x\nleagues: 3\n", 1, "leagues must be a list"),
    "unknown base": ("name: x\nbase: canonbench\n", 2, "Did you mean 'canonbench-1'?"),
    "unknown task": ("name: x\nthresholds: {contry: 1}\n", 2, "Did you mean 'country'?"),
    "a list": ("- 3\n", 1, "must hold 'key: value' lines"),
}


@pytest.mark.parametrize(("content", "code", "says"), PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_fault_in_a_protocol_file_is_named(
    canonbench: Canonbench, world: Path, content: str, code: int, says: str
) -> None:
    (world / "own.yaml").write_text(content)
    outcome = canonbench(*EVALUATE, "--protocol", "own.yaml")
    assert outcome.code == code
    assert says in outcome.error
    assert "own.yaml" in outcome.error


def test_a_protocol_file_that_is_not_there(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE, "--protocol", "own.yaml")
    assert outcome.error == "cannot read own.yaml: No such file or directory"
