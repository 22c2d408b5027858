"""Draw a task's senses: the importance of each, and the words that it promotes before and after an edit."""

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
"""Height per sense in inches: with one line of words, and with two (before and after)."""
TOP, BOTTOM = 0.5, 0.55
LABEL, BARS, GAP, COLUMN = 1.7, 1.7, 0.25, 1.07
"""Widths in inches: of the names on the left, the bars, the gap before the words, and a column of words."""
SIZE = 9
"""Font size of words, points."""
GREY, NEW = "#777777", COLOURS[1]


def draw_senses(senses: Sequence[ShownSense], path: Path) -> None:
    """Write the picture as SVG; the same input gives the same bytes.

    Args:
        senses: at least one, from top to bottom.
        path: the file, SVG whatever its suffix.

    Raises:
        CanonbenchError: the file cannot be written.
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
    """Write the words in columns, the ``new`` ones highlighted."""
    for column, word in enumerate(words):
        bold = word.token_id in new
        axes.text(
            column, y, _fitting(word.text, COLUMN * DPI - 2 * SLACK, bold=bold), color=NEW if bold else colour,
            fontsize=SIZE, fontweight="bold" if bold else "normal", va="center", parse_math=False,
        )  # fmt: skip


def _fitting(text: str, room: float, *, bold: bool = False) -> str:
    """Shorten a text to ``room`` points; characters that the font lacks are escaped."""
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
    """Text of the token, as ``spelled``."""
    logit: float
    """Contribution of the sense alone, at weight 1, to the token's logit."""


@dataclass(frozen=True)
class ShownSense:
    """A sense of a token."""

    token_id: int
    token: str
    """As ``spelled``."""
    sense: int
    importance: float | None
    """Maximum importance over the canonical examples (arXiv 2402.06155, eq. 8); None if none of them chose it."""
    before: list[Word]
    """The words that it promotes most in the base."""
    after: list[Word] | None
    """The words that it promotes most after the edit; None without an edit."""


def escaped(text: str) -> str:
    """Escape as in a Python string: ``\\n``, ``\\u4e2d``."""
    return text.encode("unicode_escape").decode("ascii")
