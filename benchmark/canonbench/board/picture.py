"""Draw the trajectory of an edit run: success against loss ratio for each candidate, with leagues as bands.

Candidates in no league have a known ratio but no success; they are drawn below the plot, in one row per task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from canonbench.board.picture_parts import BESIDE, Label, bands, limits, place_labels, scale
from canonbench.results import Candidate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind people can tell apart; without yellow, which is faint on white."""
MARKERS = "osD^vPX"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "canonbench",  # otherwise ids are random
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DPI = 72
"""Resolution of SVG, at which a pixel is a point."""
WIDTH, PLOT, ROW = 9.0, 4.3, 0.22
"""Inches: width of the picture, height of the plot, height of a row below it."""
LEFT, RIGHT, TOP, BOTTOM = 0.9, 2.1, 0.55, 0.6
"""Margins in inches; the legend is on the right."""
LEAST_SPAN = 5
"""Minimum range of the success axis, percentage points."""
RING = 11
"""Diameter in points of the ring around a chosen candidate."""


Span = tuple[float, float]
"""Range of ratio − 1."""


class Look(NamedTuple):
    """The look of a task's points and lines."""

    colour: str
    marker: str
    size: float
    """Diameter of a marker, points."""
    line: float
    """Width of the line, points."""
    numbered: bool
    """Whether every candidate is numbered, not only the chosen ones."""


def draw_trajectory(
    candidates: Sequence[Candidate], base: Mapping[str, float], leagues: Mapping[str, float], path: Path
) -> None:
    """Write the picture as SVG; the same input gives the same bytes.

    Args:
        candidates: the candidates of all tasks and seeds.
        base: task to the unedited model's success, percent.
        leagues: label to ε.
        path: the file, SVG whatever its suffix.
    """
    with matplotlib.rc_context(STYLE):
        figure = _figure(candidates, base, leagues)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _figure(candidates: Sequence[Candidate], base: Mapping[str, float], leagues: Mapping[str, float]) -> Figure:
    looks = _looks(list(base), several=len({each.seed for each in candidates}) > 1)
    outside = [task for task in base if any(each.task == task and each.success is None for each in candidates)]
    strip = ROW * len(outside)
    figure = Figure(figsize=(WIDTH, BOTTOM + strip + PLOT + TOP), dpi=DPI)
    plot = _axes(figure, BOTTOM + strip, PLOT)
    span = limits(candidates, leagues)
    scale(plot, span, leagues)
    bands(plot, leagues, named=True)
    labels = [label for task in base for label in _trajectories(plot, candidates, task, base[task], looks[task], span)]
    _success_axis(plot)
    place_labels(plot, labels)
    lowest = plot
    if outside:
        plot.tick_params(axis="x", labelbottom=False)
        lowest = _axes(figure, BOTTOM, strip)
        scale(lowest, span, leagues)
        bands(lowest, leagues, named=False)
        _outside(lowest, candidates, outside, looks, span)
    lowest.set_xlabel("loss ratio − 1 on general text")
    _key(figure, candidates, looks, span)
    return figure


def _axes(figure: Figure, bottom: float, height: float) -> Axes:
    width, total = figure.get_size_inches()
    return figure.add_axes((LEFT / width, bottom / total, (width - LEFT - RIGHT) / width, height / total))


def _success_axis(axes: Axes) -> None:
    """Fit the success axis to the data, but not so closely that noise looks large, nor far beyond 0 and 100."""
    low, high = axes.dataLim.intervaly
    margin = max(0.1 * (high - low), (LEAST_SPAN - (high - low)) / 2)
    axes.set_ylim(max(low - margin, -4), min(high + margin, 104))
    axes.set_ylabel("success, %")


def _looks(tasks: Sequence[str], *, several: bool) -> dict[str, Look]:
    size, line = (4.0, 0.8) if several else (5.5, 1.6)
    return {
        task: Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], size, line, not several)
        for index, task in enumerate(tasks)
    }


def _trajectories(
    axes: Axes, candidates: Sequence[Candidate], task: str, base: float, look: Look, span: Span
) -> Iterator[Label]:
    """Draw a line per seed, starting at the unedited model and broken where a candidate was not scored."""
    own = sorted((each for each in candidates if each.task == task), key=lambda each: (each.seed, each.number))
    for _, seed in groupby(own, key=lambda each: each.seed):
        run = list(seed)
        points = [(0.0, base), *((_drawn(each, span), each.success) for each in run)]
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, [float("nan") if y is None else y for y in ys], color=look.colour, linewidth=look.line, zorder=3)
        for each in run:
            if each.success is not None:
                yield _point(axes, each, look, span, last=each is run[-1])
    axes.plot(0.0, base, look.marker, color=look.colour, markerfacecolor="white", markersize=look.size + 1, zorder=4)
    yield Label(0.0, base, (), look.size / 2 + 1, 9, look.colour, False)


def _point(axes: Axes, candidate: Candidate, look: Look, span: Span, *, last: bool) -> Label:
    assert candidate.success is not None
    x, y, chosen = _drawn(candidate, span), candidate.success, bool(candidate.chosen)
    axes.plot(x, y, look.marker, color=look.colour, markersize=look.size, markeredgewidth=0, zorder=4)
    if chosen:
        axes.plot(x, y, "o", color=look.colour, markerfacecolor="none", markersize=RING, markeredgewidth=1.4, zorder=5)
    number = str(candidate.number)
    texts = (f"{number} for {', '.join(candidate.chosen)}", number) if chosen else (number,)
    priority = 0 if chosen else 1 if last or candidate.number == 1 else 2
    return Label(
        x, y, texts if chosen or look.numbered else (), (RING if chosen else look.size) / 2, priority,
        look.colour, chosen,
    )  # fmt: skip


def _outside(
    axes: Axes, candidates: Sequence[Candidate], tasks: Sequence[str], looks: Mapping[str, Look], span: Span
) -> None:
    """Draw a row per task with the candidates that were not scored; those beyond the edge share one marker."""
    labels = []
    for y, task in enumerate(tasks):
        look = looks[task]
        own = [each for each in candidates if each.task == task and each.success is None]
        beyond = [each.number for each in own if _is_beyond(each, span)]
        places = [(_drawn(each, span), "x", str(each.number)) for each in own if not _is_beyond(each, span)]
        places += [(span[1], ">", _ranges(beyond))] if beyond else []
        for x, marker, number in places:
            axes.plot(x, y, marker, color=look.colour, markersize=5, zorder=4)
            labels.append(Label(x, y, (number,) if look.numbered else (), 3, 0, look.colour, False))
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_yticks(range(len(tasks)), [task if len(task) <= 10 else f"{task[:9]}…" for task in tasks], fontsize=8)
    axes.tick_params(axis="y", length=0)
    place_labels(axes, labels, BESIDE)


def _ranges(numbers: Sequence[int]) -> str:
    """Format numbers as ranges: 4, 5, 6, 8 as "4–6, 8"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _is_beyond(candidate: Candidate, span: Span) -> bool:
    """Whether the candidate is right of the drawn range, or its exact ratio is unknown."""
    return candidate.rejected or candidate.ratio - 1 > span[1]


def _drawn(candidate: Candidate, span: Span) -> float:
    return span[1] if _is_beyond(candidate, span) else candidate.ratio - 1


def _key(figure: Figure, candidates: Sequence[Candidate], looks: Mapping[str, Look], span: Span) -> None:
    grey = "#444444"
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linewidth=look.line, markersize=look.size, label=task)
        for task, look in looks.items()
    ]
    handles.append(Line2D([], [], color="none", label=" "))
    signs = [("o", 6.5, "the unedited model")]
    if any(each.chosen for each in candidates):
        signs.append(("o", RING, "chosen, for its leagues"))
    not_scored = [each for each in candidates if each.success is None]
    if any(not _is_beyond(each, span) for each in not_scored):
        signs.append(("x", 5, "in no league, so not scored"))
    if any(_is_beyond(each, span) for each in not_scored):
        signs.append((">", 5, "in no league, place unknown"))
    handles += [
        Line2D([], [], color="none", marker=marker, markersize=size, markeredgecolor=grey,
               markerfacecolor=grey if marker == ">" else "white", label=text)
        for marker, size, text in signs
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1 - (RIGHT - 0.1) / WIDTH, 1 - TOP / figure.get_figheight()),
        frameon=False, fontsize=8.5, handlelength=1.6, borderaxespad=0,
    )  # fmt: skip
