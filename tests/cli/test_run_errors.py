"""What can go wrong around a run: folders, files, streams, bugs. One line each, and nothing computed is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import EVALUATE, MODEL, QUICK, Canonbench

from command_outcome import ERROR

RUN = ("--run", "run")
COMMAND = (sys.executable, "-m", "canonbench")


def test_a_folder_that_holds_another_run_names_the_first_difference(canonbench: Canonbench, world: Path) -> None:
    assert canonbench(*QUICK, *RUN).code == 0
    before = (world / "run/row.json").read_bytes()
    for change, difference in (
        (("--model", "edited"), "model: 'base' there, 'edited' here"),
        (("--limit", "1"), "limit: 2 there, 1 here"),
        (("--general", "chunks"), "general: None there, 'chunks' here"),
    ):
        outcome = canonbench(*QUICK, *RUN, *change)
        assert outcome.code == 1
        assert f"run holds another run ({difference}); give another --run" in outcome.error
    assert (world / "run/row.json").read_bytes() == before


def test_changed_data_is_another_run(canonbench: Canonbench, world: Path) -> None:
    """Whatever a number depends on: texts, general text, thresholds."""
    assert canonbench(*EVALUATE, *RUN).code == 0
    for file, old, new in (
        ("suite.yaml", "threshold: -9.0", "threshold: -10.0"),
        ("general/test.jsonl", "Chunk 100", "Chunk 999"),
        ("gender/test-evaluation.jsonl", "nurse", "judge"),
    ):
        path = world / "suite" / file
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))
        assert "run holds another run" in canonbench(*EVALUATE, *RUN).error, file
        path.write_text(before)
    assert "already complete" in canonbench(*EVALUATE, *RUN).err


def test_a_folder_with_files_of_its_own_is_left_alone(canonbench: Canonbench, world: Path) -> None:
    (world / "run").mkdir()
    (world / "run/row.json").write_text("mine")
    outcome = canonbench(*QUICK, *RUN)
    assert outcome.code == 1
    assert "run is not a run folder (it holds row.json); give another --run" in outcome.error
    assert [path.name for path in (world / "run").iterdir()] == ["row.json"]
    assert (world / "run/row.json").read_text() == "mine"


def test_what_a_kill_leaves_in_a_new_folder_is_not_foreign(canonbench: Canonbench, world: Path) -> None:
    (world / "run").mkdir()
    (world / "run/.lock").touch()
    (world / "run/.run.yaml.x1y2z3").write_text("ident")
    assert canonbench(*QUICK, *RUN).code == 0


@pytest.mark.parametrize("option", ["--run", "--output"])
def test_a_folder_that_cannot_be_written_is_named(canonbench: Canonbench, world: Path, option: str) -> None:
    """In /proc not even root can make a file."""
    outcome = canonbench(*QUICK, option, "/proc/canonbench")
    assert outcome.code == 1
    assert "/proc/canonbench" in outcome.error
    assert "cannot" in outcome.error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("option", [("--run", "locked/run"), ("--output", "locked/row.json")])
def test_a_read_only_folder_is_named_before_anything_is_scored(
    canonbench: Canonbench, world: Path, option: tuple[str, str]
) -> None:
    (world / "locked").mkdir(mode=0o500)
    outcome = canonbench(*QUICK, *option)
    assert outcome.code == 1
    assert "cannot be written" in outcome.error
    assert not (world / "canonbench-runs").exists()


@pytest.mark.parametrize("content", ["a: [\n", "", "3\n", "identity: 3\n", "identity: [a]\n", "\xff"])
def test_a_damaged_run_yaml_is_named(canonbench: Canonbench, world: Path, content: str) -> None:
    (world / "run").mkdir()
    (world / "run/run.yaml").write_bytes(content.encode("latin-1"))
    outcome = canonbench(*QUICK, *RUN)
    assert outcome.code == 1
    assert outcome.error == "run/run.yaml is damaged; delete the folder or give another --run"


def test_a_damaged_row_is_made_again_once_it_is_deleted(canonbench: Canonbench, world: Path) -> None:
    whole = canonbench(*QUICK, *RUN, "--json").out
    path = world / "run/row.json"
    for content in (whole[:100], "{}", "[]", ""):
        path.write_text(content)
        outcome = canonbench(*QUICK, *RUN)
        assert outcome.code == 1
        assert "delete run/row.json and run the same command again" in outcome.error
        assert "already complete" not in outcome.err
    path.unlink()
    assert canonbench(*QUICK, *RUN).code == 0
    assert json.loads(path.read_text())["tasks"] == json.loads(whole)["tasks"]


@pytest.mark.parametrize("line", ["garbage", '{"requests": [0], "sums": [], "seconds": 1}', "[]", '{"seconds": 1}'])
def test_a_damaged_journal_is_named(canonbench: Canonbench, world: Path, line: str) -> None:
    canonbench(*QUICK, *RUN)
    (world / "run/row.json").unlink()
    (journal,) = (world / "run/scores").glob("*.jsonl")
    journal.write_text(line + "\n")
    outcome = canonbench(*QUICK, *RUN)
    assert outcome.code == 1
    assert f"run/scores/{journal.name} is damaged" in outcome.error
    assert "delete it and run the same command again" in outcome.error
    journal.unlink()
    assert canonbench(*QUICK, *RUN).code == 0


def test_an_output_that_cannot_be_written_leaves_the_run_complete(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*QUICK, *RUN, "--output", "/dev/full")
    assert outcome.code == 1
    assert outcome.error.startswith("cannot write /dev/full: ")
    assert outcome.error.endswith("the row is in run/row.json")
    assert "already complete" in canonbench(*QUICK, *RUN, "--output", "row.json").err
    assert (world / "row.json").read_bytes() == (world / "run/row.json").read_bytes()


def test_an_unexpected_exception_gets_one_line_and_with_debug_the_traceback(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object, **__: object) -> None:
        raise TypeError("unsupported operand\n  in line two")

    monkeypatch.setattr(sys.modules["canonbench.runs.evaluate"], "build_row", bug)
    outcome = canonbench(*QUICK)
    assert outcome.code == 1
    assert outcome.error == (
        "unexpected TypeError: unsupported operand in line two (run 'canonbench --debug ...' for the traceback)"
    )
    for debugged in (canonbench("--debug", *QUICK), _with(monkeypatch, "CANONBENCH_DEBUG", "1", canonbench)):
        assert debugged.code == 1
        assert "Traceback (most recent call last)" in debugged.err
        assert debugged.err.splitlines()[-1].startswith(f"{ERROR}unexpected TypeError")


def _with(monkeypatch: pytest.MonkeyPatch, name: str, value: str, canonbench: Canonbench) -> object:
    monkeypatch.setenv(name, value)
    return canonbench(*QUICK)


@pytest.mark.parametrize(
    ("raised", "says"),
    [(MemoryError(), "out of memory; try a smaller --batch-tokens"), (KeyboardInterrupt(), "interrupted; nothing")],
)
def test_memory_and_interrupts_have_words_of_their_own(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, says: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("canonbench.runs.measure.score", fail)
    outcome = canonbench(*QUICK)
    assert outcome.code == 1
    assert says in outcome.error


def test_a_reader_that_goes_away_is_no_error(world: Path) -> None:
    """``canonbench tasks | head -1``: what the reader wanted was written; the rest goes nowhere, silently."""
    writer = subprocess.Popen(
        [*COMMAND, "tasks", "show", "country", "-n", "9999", "--suite", "mini"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.close()
    _, err = writer.communicate(timeout=60)
    assert err == b""
    assert writer.returncode == 1


@pytest.mark.parametrize("arguments", [("tasks", "--suite", "mini"), ("--help",), ("--version",)])
def test_a_full_disk_under_standard_output_is_said(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith(ERROR)
    assert "No space left on device" in lines[0]


def test_standard_output_may_be_closed_from_the_start() -> None:
    command = f"{' '.join(COMMAND)} tasks --suite mini >&-"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_terminal_without_unicode_gets_question_marks(world: Path) -> None:
    """The Δ of the table does not exist in ASCII."""
    command = [*COMMAND, *MODEL, "edited", "--base", "base", "--task", "gender", "--general", "none"]
    run = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert b"base  edited      ?  " in run.stdout
