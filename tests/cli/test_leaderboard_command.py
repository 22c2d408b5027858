"""``canonbench leaderboard``: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import Canonbench

from board_cases import measured, reported
from canonbench.results.rows import write_rows_file

BUILD = ("leaderboard", "build")
CHECK = ("leaderboard", "check")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two rows, and the working folder somewhere inside it."""
    rows = tmp_path / "leaderboard" / "rows"
    rows.mkdir(parents=True)
    (tmp_path / "submissions").mkdir()
    write_rows_file(rows / "some.jsonl", [measured(), reported()])
    monkeypatch.chdir(tmp_path / "submissions")
    return tmp_path


def test_a_build_names_what_it_wrote_and_then_there_is_nothing_to_do(canonbench: Canonbench, checkout: Path) -> None:
    outcome = canonbench(*BUILD)
    assert (outcome.code, outcome.err) == (0, "")
    written = outcome.out.splitlines()
    assert "../leaderboard/README.md" in written
    assert all(Path(path).is_file() for path in written)
    assert canonbench(*BUILD).out == "the pages are up to date\n"
    assert canonbench(*CHECK).out == "the pages are up to date\n"
    assert canonbench(*BUILD, "--quiet").out == ""


def test_a_check_that_fails_lists_every_page_and_says_what_to_do(canonbench: Canonbench, checkout: Path) -> None:
    outcome = canonbench(*CHECK)
    assert outcome.code == 1
    assert "../leaderboard/README.md: missing" in outcome.out.splitlines()
    assert outcome.error == ("pages and rows disagree; run 'canonbench leaderboard build', and commit what it writes")


@pytest.mark.parametrize(("form", "name"), [("csv", "leaderboard.csv"), ("parquet", "leaderboard.parquet")])
def test_another_format_is_one_file_and_no_pages(
    form: str, name: str, canonbench: Canonbench, checkout: Path, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    assert canonbench(*BUILD, "--format", form, "--out", out).out == f"{out / name}\n"
    assert [path.name for path in out.iterdir()] == [name]


def test_two_formats_and_the_pages_at_once(canonbench: Canonbench, checkout: Path) -> None:
    outcome = canonbench(*BUILD, "--format", "latex", "--format", "pages", "--format", "bibtex", "--out", "x")
    assert outcome.code == 0
    assert {"x/leaderboard.tex", "x/README.md", "x/leaderboard.bib"} <= set(outcome.out.splitlines())


def test_rows_elsewhere_are_named(canonbench: Canonbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    write_rows_file(tmp_path / "mine" / "some.jsonl", [measured()])
    assert "out/README.md" in canonbench(*BUILD, "--rows", "mine", "--out", "out").out.splitlines()


def test_what_is_wrong_is_one_line(canonbench: Canonbench, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = canonbench(*BUILD, "--format", "word")
    assert outcome.code == 2
    assert "'word' is not one of" in outcome.error
    (checkout / "leaderboard" / "rows" / "bad.jsonl").write_text("{}\n", encoding="utf-8")
    outcome = canonbench(*CHECK)
    assert outcome.code == 1
    assert "bad.jsonl:1: " in outcome.error
    assert "no such folder of rows" in canonbench(*BUILD, "--rows", "nowhere").error
    monkeypatch.chdir("/")
    outcome = canonbench(*BUILD)
    assert (outcome.code, outcome.out) == (2, "")
    assert "not in a checkout" in outcome.error


def test_a_page_that_cannot_be_written_is_named(canonbench: Canonbench, checkout: Path) -> None:
    (checkout / "leaderboard" / "README.md").mkdir()
    outcome = canonbench(*BUILD)
    assert outcome.code == 1
    assert "README.md" in outcome.error
