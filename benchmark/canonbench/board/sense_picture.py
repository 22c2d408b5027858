"""The picture of a task's senses: how important each is, and the words that it promotes before and after an edit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from canonbench.board.picture import COLOURS, DPI, STYLE, WIDTH
from canonbench.board.picture_parts import SLACK, font, text_width
from canonbench.files import replacing

LINE, PAIR = 0.26, 0.56
"""Inches per sense: with a line of words, with one before and one after."""
TOP, BOTTOM = 0.5, 0.55
LABEL, BARS, GAP, COLUMN = 1.7, 1.7, 0.25, 1.07
"""Inches: of the names at the left, of the bars beside them, between these and the words, of a column of words."""
SIZE = 9
"""Points, of words."""
GREY, NEW = "#777777", COLOURS[1]


def draw_senses(senses: Sequence[ShownSense], path: Path) -> None:
    """Write the picture as SVG; the same input gives the same bytes.

    Args:
        senses: at least one, from the top down.
        path: whatever its ending.

    Raises:
        CanonbenchError: it cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(senses)
        with replacing(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})


def _figure(senses: Sequence[ShownSense]) -> Figure:
    has_edit = senses[0].after is not None
    columns = len(senses[0].before)
    left = LABEL + BARS + GAP
    width, height = max(WIDTH, left + COLUMN * columns), (PAIR if has_edit else LINE) * len(senses)
    total = TOP + height + BOTTOM
    figure = Figure(figsize=(width, total), dpi=DPI)
    bars = figure.add_axes((LABEL / width, BOTTOM / total, BARS / width, height / total))
    words = figure.add_axes((left / width, BOTTOM / total, COLUMN * columns / width, height / total))
    _bars(bars, senses)
    words.set_axis_off()
    words.set(xlim=(0, columns), ylim=bars.get_ylim())
    title = "promotes before the edit, and after it: what is new is bold" if has_edit else "promotes"
    words.set_title(title, loc="left", fontsize=SIZE)
    for place, each in enumerate(senses):
        if each.after is None:
            _words(words, each.before, place, "black")
        else:
            _words(words, each.before, place - 0.2, GREY)
            known = {word.token_id for word in each.before}
            _words(words, each.after, place + 0.2, "black", {word.token_id for word in each.after} - known)
    return figure


def _bars(axes: Axes, senses: Sequence[ShownSense]) -> None:
    places = range(len(senses))
    axes.barh(places, [each.importance or 0 for each in senses], height=0.5, color=COLOURS[0])
    axes.set_ylim(len(senses) - 0.5, -0.5)
    room = LABEL * DPI - text_width("  00", SIZE) - 2 * SLACK
    labels = [f"{_fitting(each.token, room)}  {each.sense}" for each in senses]
    axes.set_yticks(places, labels, fontsize=SIZE, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("importance")
    axes.locator_params(axis="x", nbins=4)
    axes.set_title("token, sense", loc="right", x=-0.03, fontsize=SIZE)


def _words(axes: Axes, words: Sequence[Word], y: float, colour: str, new: Collection[int] = ()) -> None:
    """In columns; the ``new`` stand out."""
    for column, word in enumerate(words):
        bold = word.token_id in new
        axes.text(
            column, y, _fitting(word.text, COLUMN * DPI - 2 * SLACK, bold=bold), color=NEW if bold else colour,
            fontsize=SIZE, fontweight="bold" if bold else "normal", va="center", parse_math=False,
        )  # fmt: skip


def _fitting(text: str, room: float, *, bold: bool = False) -> str:
    """As much of a text as is ``room`` points wide; what the font has no sign for is escaped."""
    drawn = "".join(each if ord(each) in _signs(bold) else escaped(each) for each in text)
    shorter = (f"{drawn[:length]}…" for length in reversed(range(len(drawn))))
    return next(each for each in (drawn, *shorter) if text_width(each, SIZE, bold=bold) <= room)


@cache
def _signs(bold: bool) -> frozenset[int]:
    return frozenset(get_font(findfont(font(bold))).get_charmap())


@dataclass(frozen=True)
class Word:
    """A token that a sense promotes."""

    token_id: int
    text: str
    """As ``spelled``."""
    logit: float
    """What the sense alone, at weight 1, adds to its logit."""


@dataclass(frozen=True)
class ShownSense:
    """A sense of a token."""

    token_id: int
    token: str
    """As ``spelled``."""
    sense: int
    importance: float | None
    """To the canonical example that it matters to most (arXiv 2402.06155, eq. 8); None if none of them chose it."""
    before: list[Word]
    """The words that it promotes most, of the base."""
    after: list[Word] | None
    """Likewise with the edit; None if there is no edit."""


def escaped(text: str) -> str:
    """As in a string of Python: ``\\n``, ``\\u4e2d``."""
    return text.encode("unicode_escape").decode("ascii")
