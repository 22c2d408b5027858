"""The picture of an edit run: what is in it, that nothing covers anything, and that it is the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from canonbench.board.picture import draw_trajectory
from canonbench.board.picture_parts import Label, limits, place_labels, scale
from canonbench.results.candidates import Candidate

LEAGUES = {"1e-3": 1e-3, "1e-4": 1e-4, "1e-5": 1e-5}
SIX = {"country": 3.4, "company": 0.0, "stereoset": 18.0, "gender": 16.7, "temporal": 4.5, "verb": 100.0}


def candidate(
    number: int,
    ratio: float,
    success: float | None = None,
    *,
    task: str = "country",
    seed: int = 0,
    rejected: bool = False,
    chosen: Sequence[str] = (),
) -> Candidate:
    inside = {label: ratio <= 1 + epsilon for label, epsilon in LEAGUES.items()}
    return Candidate(task, seed, number, "f", 1.0, ratio, rejected, inside, success, None, {}, chosen)


SOME = [
    candidate(1, 1.000004, 5.0, chosen=("1e-5",)),
    candidate(2, 1.0004, 9.0, chosen=("1e-3", "1e-4")),
    candidate(3, 1.002),
    candidate(4, 1.0012, rejected=True),
    candidate(5, 1.0013, rejected=True),
]


def drawn(path: Path, candidates: Sequence[Candidate], base: Mapping[str, float]) -> list[str]:
    """All lettering of the picture."""
    draw_trajectory(candidates, base, LEAGUES, path)
    content = path.read_text(encoding="utf-8")
    ElementTree.fromstring(content)  # well-formed
    return re.findall(r"<!-- (.*?) -->", content)


def test_the_picture_names_leagues_tasks_candidates_and_choices(tmp_path: Path) -> None:
    words = drawn(tmp_path / "a.svg", SOME, {"country": 3.4})
    for word in (
        "league 1e-5",
        "1e-4",
        "1e-3",
        "in no league",
        "country",
        "success, %",
        "loss ratio − 1 on general text",
    ):
        assert word in words, word
    assert {"1 for 1e-5", "2 for 1e-3, 1e-4", "3", "4–5"} <= set(words)
    assert {"chosen, for its leagues", "in no league, so not scored", "in no league, place unknown"} <= set(words)


def test_the_key_explains_only_what_occurs(tmp_path: Path) -> None:
    words = drawn(tmp_path / "a.svg", [candidate(1, 1.0, 5.0)], {"country": 3.4})
    assert "the unedited model" in words
    assert not {"chosen, for its leagues", "in no league, so not scored", "in no league, place unknown"} & set(words)


def test_with_several_seeds_only_what_is_chosen_is_numbered(tmp_path: Path) -> None:
    seeds = [
        candidate(
            number, 1 + 1e-5 * number + 1e-4 * seed, 30 * seed + number, seed=seed, chosen=["1e-3"] * (number == 7)
        )
        for seed in range(3)
        for number in range(6, 9)
    ]
    words = drawn(tmp_path / "a.svg", seeds, {"country": 3.4})
    assert words.count("7 for 1e-3") == 3
    assert not {"6", "7", "8"} & set(words)


EXTREMES = {
    "nothing at all": [],
    "one": [candidate(1, 1.00001, 0.0)],
    "all rejected": [candidate(number, 1.0011, rejected=True, task=task) for task in SIX for number in range(10)],
    "far outside": [candidate(1, 1e6), candidate(2, 1.9)],
    "better than the base": [candidate(1, 0.5, 100.0), candidate(2, 0.999999, 0.0)],
    "exactly the base": [candidate(1, 1.0, 3.4), candidate(2, 1.0, 3.4)],
    "a gap": [candidate(1, 1.0001, 3.0), candidate(2, 1.1), candidate(3, 1.0001, 4.0)],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("candidates", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_drawn_without_a_warning(tmp_path: Path, candidates: list[Candidate]) -> None:
    assert "stereoset" in drawn(tmp_path / "a.svg", candidates, SIX)


@pytest.mark.filterwarnings("error")
def test_more_tasks_than_colours_and_long_names_are_drawn(tmp_path: Path) -> None:
    base = {f"a task of one's own {number}": 5.0 * number for number in range(17)}
    outside = [candidate(1, 1.1, task=task) for task in base]
    assert {*base, "a task of…"} <= set(drawn(tmp_path / "a.svg", outside, base))


def test_the_same_input_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys, test_trajectory_picture as t; from pathlib import Path; t.drawn(Path(sys.argv[1]), t.SOME, t.SIX)"
    )
    pictures = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.svg"
        environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment, cwd=Path(__file__).parent)
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert b"<dc:date>" not in pictures[0]


def test_the_span_holds_all_leagues_and_whole_decades() -> None:
    def span(*ratios: float) -> tuple[float, float]:
        return tuple(round(end, 9) for end in limits([candidate(1, ratio) for ratio in ratios], LEAGUES))  # type: ignore[return-value]

    assert span() == (-1e-5, 0.01)
    assert span(1.0004, 0.999999) == (-1e-5, 0.01)
    assert span(0.9995) == (-1e-3, 0.01)
    assert span(1.02) == (-1e-5, 0.1)
    assert span(1e9) == (-1e-5, 0.1)
    assert limits([candidate(1, 5.0, rejected=True)], LEAGUES) == limits([], LEAGUES)


def test_a_tick_stands_at_every_decade_on_both_sides() -> None:
    axes = Figure().add_subplot()
    scale(axes, (-1e-4, 1e-2), LEAGUES)
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["−1e-4", "−1e-5", "0", "1e-5", "1e-4", "1e-3", "1e-2"]


POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(POINTS)
def test_lettering_never_covers_lettering_or_another_point(points: list[tuple[float, float, bool]]) -> None:
    figure = Figure(figsize=(3, 2), dpi=72)
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.add_axes((0, 0, 1, 1))
    reach = 3.0
    place_labels(
        axes,
        [Label(x, y, (f"{n} for 1e-3", str(n)), reach, n, "#000000", bold) for n, (x, y, bold) in enumerate(points)],
    )
    boxes = [text.get_window_extent(renderer).padded(-1.0) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    markers = [Bbox.from_bounds(x - reach, y - reach, 2 * reach, 2 * reach).padded(-0.5)
               for x, y in (axes.transData.transform(point[:2]) for point in points)]  # fmt: skip
    assert not any(box.overlaps(marker) for box in boxes for marker in markers)


def test_what_is_important_is_lettered_first_and_shorter_where_there_is_no_room() -> None:
    figure = Figure(figsize=(1, 1), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    texts = ("far too long for a plot of one inch", "short")
    place_labels(
        axes, [Label(0.5, 0.5, ("later",), 3, 2, "#000000", False), Label(0.5, 0.5, texts, 3, 1, "#000000", True)]
    )
    assert [text.get_text() for text in axes.texts] == ["short", "later"]
