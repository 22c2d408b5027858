"""The board's plots, and what they and the web page are made of."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from page_cases import drawn_up, edit_row, no_scores, no_texts, two_flips

from canonbench.board import document as vendored
from canonbench.board.document import document
from canonbench.board.html import html_page
from canonbench.board.plots import plots
from canonbench.board.points import group_names, model_size
from canonbench.board.texts import embedded_texts
from canonbench.errors import CanonbenchError
from canonbench.results.examples import Block
from canonbench.results.flips import Flip, flips, said
from canonbench.suite.suite import Suite
from canonbench.suite.tasks import TASKS

LN = np.log


def block(base: list[float] | None, edited: list[float]) -> Block:
    n = len(edited)
    after = np.array(edited)
    before = None if base is None else np.array(base)
    clusters = [f"row {number}" if number == 0 else f"subject {number}" for number in range(n)]
    return Block(
        np.arange(n), clusters, np.ones(n, bool), np.ones(n, int), after, (-after,), before, np.full(n, np.nan)
    )


def test_flips_are_told_apart_and_the_largest_change_comes_first() -> None:
    base = [2.0, 0.5, 3.0, 1.0, 0.9]
    edited = [0.5, 2.5, 0.2, 1.0, 1.1]
    found = flips(block(base, edited), 1.0)  # a loss of exactly δ succeeds
    assert found.fixed == (Flip(2, "subject 2", 3.0, 0.2), Flip(0, None, 2.0, 0.5))
    assert found.broken == (Flip(1, "subject 1", 0.5, 2.5), Flip(4, "subject 4", 0.9, 1.1))


def test_nothing_is_fixed_without_a_base() -> None:
    with pytest.raises(CanonbenchError, match="no base"):
        flips(block(None, [1.0]), 1.0)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("country", "20 %"),
        ("company", "5 %"),
        ("stereoset", "0.1 %"),
        ("gender", "factor 1.5"),
        ("verb", "16 times likelier"),
    ],
)
def test_a_loss_at_its_threshold_is_said_in_the_words_of_the_threshold(task: str, words: str) -> None:
    assert said(TASKS[task].loss, TASKS[task].threshold) == words


def test_a_loss_beyond_all_measure_is_still_said() -> None:
    assert said("balance", 1e6).startswith("factor 1.01e+304")
    assert said("preference", 1e6).endswith("times likelier")
    assert said("nll", -1e-12) == "100 %"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("EleutherAI/pythia-1.4b", 1.4e9),
        ("EleutherAI/gpt-j-6b", 6e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
        ("stanfordnlp/backpack-gpt2", 170e6),
        ("demo", 135e6),
        ("mine/v2-base", None),
        ("mine/3beta", None),
        ("1b/unknown", None),
    ],
)
def test_sizes_are_read_from_names_that_say_them(name: str, size: float | None) -> None:
    assert model_size(name) == size


def test_groups_of_one_name_are_told_apart_by_their_data() -> None:
    rows = [edit_row(), edit_row(suite={"data_hash": "b" * 64}), edit_row(split="val")]
    names = group_names(row.comparable_group for row in rows)
    assert len(set(names)) == 3
    assert "aaaaaaaa" in names[0]
    assert "bbbbbbbb" in names[1]
    assert "aaaa" not in names[2]


def test_plots_show_every_point_once_and_are_the_same_bytes_again() -> None:
    rows = [edit_row(method, base) for method in ("full", "lora") for base in ("m-1b", "m-2b")]
    drawn = plots(drawn_up(rows))
    assert [name.rpartition("float32-per-task-")[2] for name in drawn] == [
        "loss-ratio.svg",
        "hard-negatives.svg",
        "model-size.svg",
    ]
    assert drawn == plots(drawn_up(rows[::-1]))
    for picture in drawn.values():
        ElementTree.fromstring(picture)
        points = re.findall(r'aria-roledescription="point"', picture)
        assert len(points) == len(rows) * 3


def test_a_plot_without_points_is_left_out() -> None:
    names = plots(drawn_up([edit_row("lora", "m-1b")]))
    assert [name.rpartition("-")[2] for name in names] == ["ratio.svg", "negatives.svg"]
    assert plots(drawn_up([])) == {}


def test_a_name_cannot_leave_a_picture() -> None:
    for picture in plots(drawn_up([edit_row("</text><script>alert(1)</script>")])).values():
        assert "<script" not in picture
        ElementTree.fromstring(picture)


def test_published_texts_never_enter_a_page() -> None:
    mini = Suite.load("mini").data_hash("test")
    own = edit_row(suite={"data_hash": mini}).comparable_group
    texts = embedded_texts(own)
    assert texts is not None
    assert texts["country"][0].prefix == Suite.load("mini").task("country").split("test").evaluation[0]["prefix"]
    assert embedded_texts(own._replace(suite="published 1")) is None
    assert embedded_texts(own._replace(data_hash="a" * 64)) is None  # another suite that calls itself mini


def test_scripts_and_data_cannot_end_their_elements() -> None:
    scripts = ["a = '</script><!--<script>'", "b = 1"]
    data = {"x": "</script><script>1"}
    page = document("board.html", scripts=scripts, data=data, **NOTHING)
    assert page.count("</script>") == 3
    assert "<!--" not in page
    assert "\\x3c/script>" in page


NOTHING: dict[str, Any] = {"board_style": "", "excluded": [], "n_rows": 0, "libraries": [], "licences": ""}


def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch: Any) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    vendored.data_tables.cache_clear()
    monkeypatch.setattr(vendored, "distribution", missing)
    with pytest.raises(CanonbenchError, match=r"pip install 'canonbench\[board\]'"):
        html_page(drawn_up([edit_row()]), no_scores, no_texts)


def test_the_libraries_licences_are_on_the_page() -> None:
    page = html_page(drawn_up([edit_row()]), two_flips, no_texts)
    for holder in ("SpryMedia", "Marc Wouts", "Interactive Data Lab", "OpenJS Foundation", "Mike Bostock"):
        assert holder in page
