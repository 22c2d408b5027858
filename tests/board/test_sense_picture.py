"""The picture of senses: nothing runs into its neighbour, nothing of what is drawn is unknown to the font."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from canonbench.board.picture import STYLE
from canonbench.board.sense_picture import ShownSense, Word, _figure, draw_senses

TEXTS = [
    "W" * 30,
    "_internationalisation",
    "_\u4e2d\u56fd",
    "$x^2$",
    "\\n\\n\\n\\n\\n\\n\\n\\n",
    "i",
    "&<b>",
    "\u0628" * 20,
]
WORDS = [Word(number, text, 1.0) for number, text in enumerate(TEXTS)]
NEW = [Word(100 + word.token_id, word.text, 2.0) for word in WORDS]


def senses(*, has_edit: bool) -> list[ShownSense]:
    importance = (2.0, 0.5, None, -30.0)
    return [
        ShownSense(number, "W" * 40, 10 + number, each, WORDS, NEW if has_edit else None)
        for number, each in enumerate(importance)
    ]


def drawn(figure: Figure) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of all lettering, in pixels."""
    canvas = FigureCanvasSVG(figure)
    canvas.draw()
    boxes = []
    for axes in figure.axes:
        names = axes.get_yticklabels() if axes.axison else []
        for text in [*axes.texts, *names, axes._left_title, axes._right_title]:  # type: ignore[attr-defined]
            if text.get_text():
                boxes.append(text.get_window_extent().extents)
    return [tuple(map(float, box)) for box in boxes]  # type: ignore[misc]


@pytest.mark.parametrize("has_edit", [False, True])
def test_no_lettering_covers_another_or_leaves_the_picture(has_edit: bool) -> None:
    with matplotlib.rc_context(STYLE):
        figure = _figure(senses(has_edit=has_edit))
        boxes = drawn(figure)
    assert len(boxes) == 4 * len(WORDS) * (2 if has_edit else 1) + 4 + 2
    width, height = figure.bbox.width, figure.bbox.height
    assert all(left >= 0 and bottom >= 0 and right <= width and top <= height for left, bottom, right, top in boxes)
    for one in boxes:
        for other in boxes:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart or one is other


def test_signs_that_the_font_lacks_are_escaped_so_nothing_is_warned_of(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_senses(senses(has_edit=True), tmp_path / "senses.svg")
    assert (tmp_path / "senses.svg").read_text(encoding="utf-8").count("<!-- _\\u4e2d\\u56fd -->") == 4


def test_words_that_are_new_stand_out(tmp_path: Path) -> None:
    def figure(after: list[Word]) -> Figure:
        with matplotlib.rc_context(STYLE):
            return _figure([ShownSense(1, "a", 0, 1.0, WORDS[:2], after)])

    bold = [text.get_text() for text in figure([WORDS[1], NEW[5]]).axes[1].texts if text.get_fontweight() == "bold"]
    assert bold == ["i"]


def test_all_rows_have_the_same_height() -> None:
    with matplotlib.rc_context(STYLE):
        heights = [_figure(senses(has_edit=True)[:count]).bbox.height for count in (1, 2, 3, 4)]
    steps = [after - before for before, after in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3)
