"""The board's pages on disk: what is written, that it is the same for the same rows, and what a check finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from board_cases import measured, reported, with_examples
from canonbench.board.build import BEGIN, END, Places, build, check, read_board
from canonbench.errors import CanonbenchError
from canonbench.results.row import Row
from canonbench.results.rows import write_rows_file

README = f"# A house\n\n{BEGIN}\n{END}\n\nMore of it.\n"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A checkout with three rows in two files."""
    rows = tmp_path / "leaderboard" / "rows"
    rows.mkdir(parents=True)
    write_rows_file(rows / "ours.jsonl", [measured("lora", 9.0), measured("full", 1.0)])
    write_rows_file(rows / "theirs.jsonl", [reported()])
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return Places(rows, tmp_path / "leaderboard")


def files(places: Places) -> dict[str, bytes]:
    return {
        path.relative_to(places.root).as_posix(): path.read_bytes()
        for path in sorted(places.root.rglob("*"))
        if path.is_file() and path.suffix != ".jsonl"
    }


def submitted(places: Places, **successes: list[bool]) -> None:
    rows = [with_examples(places.root, method, each) for method, each in successes.items()]
    write_rows_file(places.rows / "submitted.jsonl", rows)


def test_built_pages_pass_the_check_and_are_not_written_again(places: Places) -> None:
    written = {path.resolve() for path in build(places)}
    assert {places.out / "README.md", places.root.resolve() / "README.md"} <= written
    assert check(places) == []
    assert build(places) == []


def test_the_same_rows_give_the_same_bytes_in_any_order_and_file(places: Places) -> None:
    build(places)
    first = files(places)
    write_rows_file(places.rows / "ours.jsonl", [measured("full", 1.0), measured("lora", 9.0)])
    assert check(places) == []
    build(places)
    assert files(places) == first


def test_the_head_stands_between_its_markers_and_nothing_else_changes(places: Places) -> None:
    build(places)
    text = (places.root / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# A house\n\n{BEGIN}\n\n**published 1, test, ")
    assert text.endswith(f"[The whole board](leaderboard/README.md).\n\n{END}\n\nMore of it.\n")
    assert "| lora | org/base | +9.00 (1) | +9.00 (1) | +9.00 (1) |" in text


@pytest.mark.parametrize("name", ["leaderboard/README.md", "README.md"])
def test_a_page_changed_by_hand_is_found_and_put_right(places: Places, name: str) -> None:
    build(places)
    path, good = places.root / name, files(places)
    path.write_text(path.read_text(encoding="utf-8").replace("+9.00", "+9.50", 1), encoding="utf-8")
    (finding,) = check(places)
    line = next(n for n, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1) if "+9.50" in text)
    assert finding.endswith(f"{name}: differs from the rows at line {line}")
    build(places)
    assert files(places) == good


def test_a_row_that_no_page_shows_yet_is_found(places: Places) -> None:
    build(places)
    write_rows_file(places.rows / "more.jsonl", [measured("new", 3.0)])
    assert len(check(places)) >= 2


def test_a_missing_page_a_cut_one_and_one_too_many_are_found(places: Places) -> None:
    build(places)
    page = places.out / "README.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    page.write_text("\n".join(lines[:4]) + "\n", encoding="utf-8")
    assert check(places) == [f"{page}: differs from the rows at line 5"]
    page.unlink()
    (places.out / "plots").mkdir(exist_ok=True)
    extra = places.out / "plots" / "of-a-row-that-is-gone.svg"
    extra.write_text("<svg/>", encoding="utf-8")
    assert check(places) == [f"{page}: missing", f"{extra}: nothing in the rows asks for it"]
    assert set(build(places)) == {page, extra}
    assert not extra.exists()


def test_pages_built_elsewhere_leave_the_first_page_of_the_repository_alone(places: Places, tmp_path: Path) -> None:
    elsewhere = Places(places.rows, tmp_path / "elsewhere")
    assert tmp_path / "elsewhere" / "README.md" in build(elsewhere)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_markers_that_enclose_nothing_are_refused_before_anything_is_written(places: Places, text: str) -> None:
    (places.root / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"README\.md: .* needs one .* after it"):
        build(places)
    assert not (places.out / "README.md").exists()


def test_rows_with_examples_are_ranked_by_them(places: Places) -> None:
    """Every success of the second is one of the first's: the intervals overlap, the differences are never negative."""
    good = [True] * 30 + [False] * 10
    submitted(places, first=good, second=[each and row % 8 != 3 for row, each in enumerate(good)])
    table = next(each for each in read_board(places).tables if each.league == "1e-3" and each.group.suite == "mini 1")
    ranks = {entry.placed.row.method: entry.rank for entry in table.entries}
    assert table.ranked_by == "mixed"
    assert (ranks["first"], ranks["second"]) == (1, 2)
    first, second = (next(e for e in table.entries if e.placed.row.method == m).interval for m in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.low < second.high


def test_examples_that_are_not_the_rows_own_are_refused(places: Places) -> None:
    submitted(places, first=[True, False] * 4, second=[True] * 8)
    path = places.root / "submissions" / "first" / "examples.parquet"
    other = places.root / "submissions" / "second" / "examples.parquet"
    whole = path.read_bytes()
    path.write_bytes(other.read_bytes())
    with pytest.raises(CanonbenchError, match=r"submitted\.jsonl:1: .*examples\.parquet is not the file that its row"):
        read_board(places)
    path.unlink()
    with pytest.raises(CanonbenchError, match=r"submitted\.jsonl:1: cannot read .*examples\.parquet"):
        read_board(places)
    path.write_bytes(whole)
    assert read_board(places).tables


def test_examples_on_the_hub_are_not_fetched(places: Places) -> None:
    kept = {"state": "submitted", "submission": "s"}
    at = {"file": "hf://datasets/someone/rows@main/examples.parquet", "sha256": "0" * 64}
    rows: list[Row] = [measured(method, 5.0, **kept, examples=at) for method in ("far", "away")]
    write_rows_file(places.rows / "hub.jsonl", rows)
    assert {table.ranked_by for table in read_board(places).tables} == {"intervals", None}
