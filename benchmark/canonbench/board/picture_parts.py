"""Parts of matplotlib pictures: the labels of points, and the axis of loss ratio − 1 with its leagues.

A label covers neither points nor other labels; one that does not fit is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

from canonbench.results import Candidate

SIZE = 7.5
"""Font size, points."""
GAP = 1.5
"""Points between a marker and its label."""
SLACK = 4.0
"""Points by which a rendered label may be wider than its outline, as renderers hint and round differently."""
DARKER = 0.65
"""Factor on the marker's colour for its label, as thin strokes need more contrast."""
AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Possible places of a label, best first: above, below, right, left, the corners."""
BESIDE = ((1, 0), (-1, 0))


class Label(NamedTuple):
    """A point and its label."""

    x: float
    y: float
    """In data coordinates."""
    texts: tuple[str, ...]
    """Alternative texts; the first that fits is used. Empty for a point that must only not be covered."""
    reach: float
    """Radius of the point's marker, points."""
    priority: int
    """Labels with lower numbers are placed first."""
    colour: str
    bold: bool


def place_labels(axes: Axes, labels: Sequence[Label], places: Sequence[tuple[int, int]] = AROUND) -> None:
    """Label as many points as fit, away from the axes' lines where possible.

    Limits and scales of the axes must be final, and the figure must have 72 dpi, so that a pixel is a point.
    """
    points = [tuple(axes.transData.transform((label.x, label.y))) for label in labels]
    markers = [_box(point, 2 * label.reach, 2 * label.reach) for point, label in zip(points, labels, strict=True)]
    lines = [line.get_path().transformed(axes.transData) for line in axes.lines if len(line.get_path()) > 1]
    taken: list[Bbox] = []
    for index in sorted(range(len(labels)), key=lambda index: labels[index].priority):
        obstacles = [*taken, *markers[:index], *markers[index + 1 :]]
        found = _room(labels[index], points[index], obstacles, lines, axes.bbox, places)
        if found is not None:
            _letter(axes, labels[index], *found)
            taken.append(found[1])


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Points."""
    return float(TextPath((0, 0), text, size=size, prop=font(bold)).get_extents().width)


def _room(
    label: Label,
    point: tuple[float, float],
    obstacles: Sequence[Bbox],
    lines: Sequence[Path],
    inside: Bbox,
    places: Sequence[tuple[int, int]],
) -> tuple[str, Bbox] | None:
    """Find the first free text and place; a place on a line is better than a shorter text."""
    for text in label.texts:
        width, height = text_width(text, SIZE, bold=label.bold) + SLACK, SIZE + SLACK / 2
        free = []
        for right, up in places:
            x = point[0] + right * (label.reach + GAP + width / 2)
            y = point[1] + up * (label.reach + GAP + height / 2)
            box = _box((x, y), width, height)
            if _within(box, inside) and not any(box.overlaps(each) for each in obstacles):
                free.append(box)
        if free:
            return text, min(free, key=lambda box: sum(line.intersects_bbox(box, filled=False) for line in lines))
    return None


def _box(middle: tuple[float, ...], width: float, height: float) -> Bbox:
    return Bbox.from_bounds(middle[0] - width / 2, middle[1] - height / 2, width, height)


def _within(box: Bbox, outer: Bbox) -> bool:
    return bool(outer.x0 <= box.x0 and box.x1 <= outer.x1 and outer.y0 <= box.y0 and box.y1 <= outer.y1)


def _letter(axes: Axes, label: Label, text: str, box: Bbox) -> None:
    x, y = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    colour = tuple(DARKER * part for part in to_rgb(label.colour))
    axes.text(
        x, y, text,
        ha="center", va="center", fontsize=SIZE, fontproperties=font(label.bold), color=colour, zorder=6,
    )  # fmt: skip


def font(bold: bool) -> FontProperties:
    """The font of all text; it comes with matplotlib."""
    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")


BANDS = ("#dcdcdc", "#eaeaea", "#f5f5f5")
"""Colours of the leagues, from the tightest; further leagues have the last colour."""
LINE = "#8a8a8a"
TICK_SIZE = 9
"""Points."""
BEYOND = 50
"""The axis extends to this multiple of the loosest ε; points beyond it are drawn at the edge."""


def limits(candidates: Sequence[Candidate], leagues: Mapping[str, float]) -> tuple[float, float]:
    """Compute the drawn range of ratio − 1: whole decades with zero, all leagues, and all candidates up to ``BEYOND``.

    Rejected candidates are left out, because their ratio is not known.
    """
    tightest, loosest = min(leagues.values()), max(leagues.values())
    excess = [each.ratio - 1 for each in candidates if not each.rejected]
    furthest = min(max(excess, default=0.0), BEYOND * loosest)
    return -_decade(max(-min(excess, default=0.0), tightest)), _decade(max(furthest, 1.5 * loosest))


def scale(axes: Axes, span: tuple[float, float], leagues: Mapping[str, float]) -> None:
    """Set the x axis: logarithmic on both sides of zero, linear inside the tightest league."""
    tightest = min(leagues.values())
    axes.set_xscale("symlog", linthresh=tightest, linscale=0.6)
    axes.set_xlim(1.3 * span[0], 1.3 * span[1])
    first = math.ceil(_power(tightest))
    down, up = ([10.0**power for power in range(first, round(_power(end)) + 1)] for end in (-span[0], span[1]))
    ticks = [*(-value for value in reversed(down)), 0.0, *up]
    axes.set_xticks(ticks, [_tick(value) for value in ticks])
    axes.set_xticks([], minor=True)


def bands(axes: Axes, leagues: Mapping[str, float], *, named: bool) -> None:
    """Shade the leagues: each is everything left of its line; its name is over the part that no tighter league has."""
    start, end = axes.get_xlim()
    ordered = sorted(leagues.items(), key=lambda league: league[1])
    row_ends = [-math.inf, -math.inf]
    for number, (label, epsilon) in enumerate([*ordered, ("in no league", end)]):
        if epsilon < end:
            axes.axvspan(start, epsilon, color=BANDS[min(number, len(BANDS) - 1)], linewidth=0, zorder=0)
            axes.axvline(epsilon, color=LINE, linewidth=0.8, zorder=1)
        if named:
            _name(axes, f"league {label}" if number == 0 else label, (start, epsilon), row_ends)
        start = epsilon


def _name(axes: Axes, text: str, band: tuple[float, float], row_ends: list[float]) -> None:
    """Write the name over the middle of a band, in a second row if the first has no room."""
    left, right = (axes.transData.transform((x, 0))[0] for x in band)
    middle, half = (left + right) / 2, text_width(text, TICK_SIZE) / 2 + 3
    row = 0 if middle - half >= row_ends[0] else 1
    row_ends[row] = middle + half
    x = axes.transAxes.inverted().transform((middle, 0))[0]
    axes.annotate(
        text, (x, 1), xycoords="axes fraction", xytext=(0, 4 + row * (TICK_SIZE + 3)), textcoords="offset points",
        ha="center", va="bottom", fontsize=TICK_SIZE, color="#444444",
    )  # fmt: skip


def _power(value: float) -> float:
    return round(math.log10(value), 9)


def _decade(value: float) -> float:
    """The smallest power of ten that is not below the value."""
    return 10.0 ** math.ceil(_power(value))


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    power = round(math.log10(abs(value)))
    return ("−" if value < 0 else "") + (f"1e{power}" if power < 0 else f"{10**power}")
