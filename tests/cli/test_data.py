"""``canonbench data``, and which suite is used where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_cases import EVALUATE, Canonbench, replace_line

from canonbench import files as paths


def test_the_embedded_suite_has_no_errors(canonbench: Canonbench) -> None:
    outcome = canonbench("data", "check")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("suite mini: 0 errors")


def test_the_exit_code_of_a_check_is_1_when_there_is_an_error(canonbench: Canonbench, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(paths.data_root() / "mini", folder)
    assert canonbench("data", "check", folder).code == 0
    file = folder / "gender/test-evaluation.jsonl"
    replace_line(file, 2, '{"prefix": "The nurse said that", "suffix1": " he"}')
    outcome = canonbench("data", "check", folder)
    assert outcome.code == 1
    assert outcome.err == ""
    assert any(line.startswith(f"error: {file}:2: ") for line in outcome.out.splitlines())
    assert outcome.out.splitlines()[-1].startswith(f"suite {folder}: 1 error, ")


def test_findings_are_grouped_by_rule_and_listed_one_by_one_on_request(canonbench: Canonbench, world: Path) -> None:
    file = "suite/mine/test-evaluation.jsonl"
    lines = (world / file).read_text(encoding="utf-8").splitlines()
    for number, repeated in ((2, 1), (4, 3), (5, 3)):
        replace_line(world / file, number, lines[repeated - 1])
    short, whole = canonbench("data", "check", "suite"), canonbench("data", "check", "suite", "-v")
    assert (short.code, whole.code) == (1, 1)
    what = f"error: {file}:2: the same prefix and suffix as line 1 [duplicate_row"
    assert any(line.startswith(f"{what}: ") and " file" in line for line in short.out.splitlines())
    assert f"{what}]" in whole.out.splitlines()
    assert f"error: {file}:5: the same prefix and suffix as line 3 [duplicate_row]" in whole.out.splitlines()
    grouped, each = short.out.splitlines()[:-1], whole.out.splitlines()[:-1]
    assert len(grouped) < len(each)
    assert len({rule(line) for line in grouped}) == len(grouped)
    assert {rule(line) for line in grouped} == {rule(line) for line in each}
    levels = [line.split(":")[0] for line in grouped]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert short.out.splitlines()[-1] == f"{whole.out.splitlines()[-1]} (--verbose lists each)"


def rule(line: str) -> tuple[str, str]:
    """The level and the rule of a line of findings."""
    return line.split(":", 1)[0], line.rsplit("[", 1)[1].rstrip("]").split(":")[0]


def test_a_rule_broken_often_names_the_first_lines_and_the_files(canonbench: Canonbench, world: Path) -> None:
    files = [f"suite/country/{split}-canonical.jsonl" for split in ("test", "val")]
    for file in files:
        content = (world / file).read_text(encoding="utf-8").splitlines()
        (world / file).write_text("".join(f"{line}\n" for line in content[:1] * 8), encoding="utf-8")
    (line,) = [line for line in canonbench("data", "check", "suite").out.splitlines() if "[duplicate_row" in line]
    message = "the same prefix and suffix as line 1"
    assert line == f"error: {files[0]}:2: {message} [duplicate_row: 14 in 2 files; here lines 2, 3, 4, 5, 6, ...]"


def test_fetching_is_refused_offline_and_says_what_to_do_instead(canonbench: Canonbench) -> None:
    outcome = canonbench("data", "fetch", "published")
    assert outcome.code == 1
    assert "CANONBENCH_OFFLINE=1 forbids it" in outcome.error
    assert "--from DIR" in outcome.error


def test_importing_from_nowhere_or_from_something_else_is_refused(canonbench: Canonbench, world: Path) -> None:
    assert "nowhere is not a folder" in canonbench("data", "fetch", "published", "--from", "nowhere").error
    outcome = canonbench("data", "fetch", "published", "--from", "suite")
    assert outcome.code == 1
    assert "suite lacks" in outcome.error


def test_without_the_published_data_mini_is_the_default_and_a_note_says_so(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)
    outcome = canonbench("evaluate", "--model", "base", "--task", "country", "--limit", "1", "--general", "none")
    assert outcome.code == 0, outcome.err
    note = outcome.err.splitlines()[0]
    assert note.startswith("suite mini (the published one is not at hand; 'canonbench data fetch published' brings it)")
    assert "is not at hand" not in canonbench(*EVALUATE, "--suite", "mini", "--task", "gender", "--limit", "1").err


def test_the_published_suite_by_name_says_how_to_get_it(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)
    outcome = canonbench(*EVALUATE, "--suite", "published")
    assert outcome.code == 1
    assert "run 'canonbench data fetch published'" in outcome.error
    monkeypatch.setenv("CANONBENCH_PUBLISHED_DIR", str(world))
    assert "holds no data/ folder" in canonbench(*EVALUATE, "--suite", "published").error


def test_a_copy_named_by_the_environment_is_the_default(canonbench: Canonbench, world: Path, published: Path) -> None:
    outcome = canonbench("evaluate", "--model", "base", "--task", "verb", "--limit", "1", "--general", "none")
    assert outcome.err.startswith("suite published, test split, verb; no general text, only the first 1 rows")


def test_an_imported_copy_is_the_default_from_then_on(
    canonbench: Canonbench, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR")
    assert canonbench("tasks").out.startswith("suite mini")
    assert canonbench("data", "fetch", "published", "--from", published, "--quiet").err == ""
    assert canonbench("tasks").out.startswith("suite published")
    again = canonbench("data", "fetch", "published", "--from", published)
    assert again.code == 0
    assert "verified" in again.err
