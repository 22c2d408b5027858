"""The board in Markdown: golden files, and that nothing from a row is taken for Markdown or HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from board_cases import checkpoint, measured, placed, reported
from canonbench.board.board import Board, board
from canonbench.board.markdown import board_page, escape, head, table
from canonbench.board.texts import signed
from canonbench.results.rows import PlacedRow

GOLDEN = Path(__file__).parent / "golden"
UNRELIABLE = {"name": "unreliable", "reason": "its base's loss is broken"}
SUPERSEDED = {"name": "superseded", "reason": "by the row of May"}
ROWS = placed(
    measured("lora", 9.0, submission="lora"),
    measured("full", 1.0, submission="full"),
    measured("half-done", 4.0, limit=20),
    measured("lora", 8.0, split="val"),
    checkpoint(-2.5),
    reported("senses", 10.8, None, submission="senses", provenance={"source": "a paper", "note": "Read off a plot."}),
    reported("lora", 4.7, 0.5),
    reported("full", 4.3, 0.25),
    reported("memit", 7.0, flags=[UNRELIABLE]),
    reported("memit", 7.0, flags=[SUPERSEDED]),
)


def drawn_up(rows: Sequence[PlacedRow]) -> Board:
    return board(rows, lambda _: None)


class Cells(HTMLParser):
    """The tags of a page, and the text of its tables' cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  (the parser's own signature)
        self.tags.add(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.cells[-1]:
            self.cells[-1][-1] += data


def rendered(markdown: str) -> Cells:
    found = Cells()
    found.feed(MarkdownIt("gfm-like", {"linkify": False}).render(markdown))
    found.cells = [[cell.strip() for cell in cells] for cells in found.cells]
    return found


@pytest.mark.parametrize(("name", "page"), [("board", board_page), ("head", head)])
def test_the_board_looks_as_its_golden_file(name: str, page: Callable[[Board], str]) -> None:
    assert page(drawn_up(ROWS)) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


def test_every_row_of_every_table_has_as_many_cells_as_its_head() -> None:
    page = rendered(board_page(drawn_up(ROWS)))
    assert len(page.cells) > 20
    assert {len(cells) for cells in page.cells} == {16, 2, 4}


@given(st.permutations(ROWS))
def test_the_order_of_the_rows_changes_no_byte(rows: Sequence[PlacedRow]) -> None:
    moved = [PlacedRow(f"some.jsonl:{line}", each.row) for line, each in enumerate(rows, start=1)]
    assert board_page(drawn_up(moved)) == board_page(drawn_up(ROWS))
    assert head(drawn_up(moved)) == head(drawn_up(ROWS))


def test_a_row_that_is_not_ranked_is_not_in_the_head() -> None:
    shown = head(drawn_up(placed(reported("good"), reported("bad", flags=[UNRELIABLE]))))
    assert "| good |" in shown
    assert "| bad |" not in shown


def test_plots_stand_between_the_tables_and_what_is_left_out() -> None:
    tables, left_out = board_page(drawn_up(ROWS)).split("## Left out\n")
    page = board_page(drawn_up(ROWS), ["a b.svg", "c.svg"])
    plots = "## Plots\n\n![a b.svg](plots/a%20b.svg)\n\n![c.svg](plots/c.svg)\n\n"
    assert page == f"{tables}{plots}## Left out\n{left_out}"


def test_an_empty_board_says_so() -> None:
    assert board_page(drawn_up([])).endswith("\nNo row yet.\n")
    assert "(rank)" in head(drawn_up([]))


@given(st.text() | st.text(alphabet="|`*_<>[]()!\\$&~#+-.:/@ \n\u2028\u202ewwwhttps1a"))
def test_any_text_in_a_cell_is_read_back_as_itself_in_one_line(text: str) -> None:
    page = rendered(table(("a", "b"), [[escape(text), escape(f"see {text} there")]]))
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    _, (alone, within) = page.cells
    seen = "".join(text.split())
    if all(character.isprintable() for character in seen):
        assert "".join(alone.split()) == seen
        assert "".join(within.split()) == f"see{seen}there"


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a | b",
        "`code` *bold* _slanted_ [link](javascript:alert(1)) ![image](https://example.org/x.png)",
        "two\nlines\r\n\n# and a heading",
        "<!-- leaderboard: end -->",
        "&lt;b&gt; $x$ ~~gone~~ \\",
    ],
)
def test_a_method_of_any_name_stays_a_name(name: str) -> None:
    row = measured(name, provenance={"source": "s", "note": name}, submission=name)
    excluded = measured(name, flags=[{"name": "partial", "reason": name}], seconds=7.0)
    plain = board_page(drawn_up(placed(measured("plain", submission="plain"), measured(flags=[SUPERSEDED]))))
    for text in (board_page(drawn_up(placed(row, excluded))), head(drawn_up(placed(row)))):
        page = rendered(text)
        assert page.tags <= rendered(plain).tags
        said = " ".join(name.split())
        assert said in {cell for cells in page.cells for cell in cells}
        assert "<!--" not in text.replace("\\<", "")


def test_an_address_in_a_row_does_not_become_a_link() -> None:
    assert escape("https://a.org www.b.org me@c.org") == "https\\://a.org www\\.b.org me\\@c.org"


def test_what_cannot_be_seen_is_shown_as_such() -> None:
    assert escape("a\u202eb\u200bc\x1bd") == "a\ufffdb\ufffdc\ufffdd"


@pytest.mark.parametrize(
    ("value", "text"), [(1.25, "+1.2"), (-3.0, "−3.0"), (0.0, "0.0"), (-0.04, "0.0"), (0.06, "+0.1")]
)
def test_numbers_have_a_sign_unless_they_are_zero(value: float, text: str) -> None:
    assert signed(value, 1) == text
