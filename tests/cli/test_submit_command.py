"""``canonbench submit``, ``validate`` and ``reproduce`` as typed: what is printed, and the exit codes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from cli_cases import Canonbench
from submission_cases import describe, empty_board


@pytest.fixture
def checkout(step_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: an empty board."""
    root = empty_board(tmp_path / "checkout")
    monkeypatch.chdir(root)
    return root


def test_from_a_run_to_a_valid_submission_and_back(step_world: Path, checkout: Path, canonbench: Canonbench) -> None:
    run = step_world / "val"
    done = canonbench("submit", run, "--name", "step")
    assert (done.code, done.err) == (0, "")
    for words in (
        "wrote submissions/step/method.py\n",
        "still to be written by you:\n  submissions/step/submission.yaml: summary: still to be filled in\n",
        "then check it: canonbench validate submissions/step\n",
        f"to undo it:    canonbench submit {run} --name step --undo\n",
        "Submission: step on base (mini-slice, val)\n",
        "| 1e-3 | 16.67 | 16.67 | +0.00 |",
    ):
        assert words in done.out, words
    unfinished = canonbench("validate")
    assert unfinished.code == 1
    assert unfinished.out.endswith("5 to put right\n")
    describe(checkout)
    valid = canonbench("validate", "submissions/step")
    assert (valid.code, valid.out.splitlines()[-1]) == (0, "valid")
    assert canonbench("submit", run, "--name", "step").error.startswith("submission 'step' has a row on 'base'")
    undone = canonbench("submit", run, "--name", "step", "--undo")
    assert "deleted leaderboard/rows/step.jsonl\n" in undone.out
    assert "kept submissions/step/submission.yaml: written by somebody\n" in undone.out


def test_what_undoes_it_is_told_in_full(step_world: Path, checkout: Path, canonbench: Canonbench) -> None:
    done = canonbench("submit", step_world / "val", "--name", "step", "--model-name", "someone/tiny")
    [line] = [line for line in done.out.splitlines() if line.startswith("to undo it:")]
    assert canonbench(*shlex.split(line)[4:]).code == 0
    assert not [path for path in checkout.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("submit", "nothing", "--name", "step"), "nothing: no such run folder or row"),
        (("submit", "x", "--name", "step", "--undo", "--replace"), "--undo and --replace contradict each other"),
        (("validate", "nothing"), "nothing: no such folder; give a checkout or a folder under its submissions"),
    ],
)
def test_misuse_has_exit_code_2(arguments: tuple[str, ...], line: str, checkout: Path, canonbench: Canonbench) -> None:
    outcome = canonbench(*arguments)
    assert (outcome.code, outcome.error) == (2, line)


def test_a_row_is_run_again_and_compared(step_world: Path, checkout: Path, canonbench: Canonbench) -> None:
    canonbench("submit", step_world / "val", "--name", "step")
    where = ("--model", step_world / "base", "--suite", step_world / "suite")
    same = canonbench("reproduce", "step.jsonl:1", *where, "--write")
    assert same.code == 0
    assert "1e-3, average 16.6667 16.6667 +0.0000 1" in " ".join(same.out.split())
    assert "step.jsonl:1 is reproduced\nwrote leaderboard/rows/step.jsonl\n" in same.out
    assert '"state":"reproduced"' in (checkout / "leaderboard/rows/step.jsonl").read_text(encoding="utf-8")
