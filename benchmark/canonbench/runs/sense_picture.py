"""The picture of a task's senses: how important each is, and the words that it promotes before and after an edit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from canonbench.runs.picture import COLOURS, DPI, STYLE, WIDTH
from canonbench.runs.sense_words import ShownSense, Word

ROW = 0.34
"""Inches per line of words."""
TOP, BOTTOM = 0.5, 0.55
LABEL, BARS, GAP = 1.7, 1.7, 0.25
"""Inches: of the names at the left, of the bars beside them, and between these and the words."""
GREY, NEW = "#777777", COLOURS[1]
LONGEST = 16
"""Characters of a word that are drawn."""


def draw_senses(senses: Sequence[ShownSense], path: Path) -> None:
    """Write the picture as SVG; the same input gives the same bytes.

    Args:
        senses: at least one, from the top down.
        path: whatever its ending.
    """
    with matplotlib.rc_context(STYLE):
        _figure(senses).savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _figure(senses: Sequence[ShownSense]) -> Figure:
    lines = 2 if senses[0].after is not None else 1
    height = ROW * lines * len(senses)
    total = TOP + height + BOTTOM
    figure = Figure(figsize=(WIDTH, total), dpi=DPI)
    bars = figure.add_axes((LABEL / WIDTH, BOTTOM / total, BARS / WIDTH, height / total))
    left = LABEL + BARS + GAP
    words = figure.add_axes((left / WIDTH, BOTTOM / total, (WIDTH - left) / WIDTH, height / total))
    _bars(bars, senses)
    words.set_axis_off()
    words.set(xlim=(0, 1), ylim=(len(senses) - 0.5, -0.5))
    words.set_title("promotes" if lines == 1 else "promotes before, and after the edit", loc="left", fontsize=10)
    for place, each in enumerate(senses):
        shift = 0.0 if each.after is None else 0.22
        _words(words, each.before, set(), place - shift, GREY if each.after else "black")
        if each.after is not None:
            _words(words, each.after, {word.text for word in each.before}, place + shift, "black")
    return figure


def _bars(axes: Axes, senses: Sequence[ShownSense]) -> None:
    places = range(len(senses))
    axes.barh(places, [each.importance or 0 for each in senses], height=0.5, color=COLOURS[0])
    axes.set_ylim(len(senses) - 0.5, -0.5)
    axes.set_yticks(places, [f"{_cut(each.token)}  {each.sense}" for each in senses], fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("importance")
    axes.locator_params(axis="x", nbins=4)


def _words(axes: Axes, words: Sequence[Word], known: set[str], y: float, colour: str) -> None:
    """In columns; those that are not ``known`` stand out, if anything is."""
    for column, word in enumerate(words):
        new = bool(known) and word.text not in known
        axes.text(
            column / len(words), y, _cut(word.text), color=NEW if new else colour, fontsize=9,
            va="center", fontweight="bold" if new else "normal", parse_math=False,
        )  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
