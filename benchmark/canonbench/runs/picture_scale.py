"""The axis of loss ratio − 1, which all of a trajectory's picture shares: its scale, and the leagues on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from canonbench.runs.picture_labels import text_width
from canonbench.runs.trajectory import Candidate

BANDS = ("#dcdcdc", "#eaeaea", "#f5f5f5")
"""Of the leagues from the tightest; further ones look like the last."""
LINE = "#8a8a8a"
SIZE = 9
"""Points."""
BEYOND = 50
"""So many times the loosest ε is drawn; what lies further stands at the edge."""


def limits(candidates: Sequence[Candidate], leagues: Mapping[str, float]) -> tuple[float, float]:
    """The span of ratio − 1 that is drawn: whole decades with zero, all leagues, and (up to a point) all candidates.

    Of a rejected candidate the ratio is not known, so it has no place on the axis.
    """
    tightest, loosest = min(leagues.values()), max(leagues.values())
    excess = [each.ratio - 1 for each in candidates if not each.rejected]
    furthest = min(max(excess, default=0.0), BEYOND * loosest)
    return -_decade(max(-min(excess, default=0.0), tightest)), _decade(max(furthest, 1.5 * loosest))


def scale(axes: Axes, span: tuple[float, float], leagues: Mapping[str, float]) -> None:
    """Logarithmic on both sides of zero, linear inside the tightest league."""
    tightest = min(leagues.values())
    axes.set_xscale("symlog", linthresh=tightest, linscale=0.6)
    axes.set_xlim(1.3 * span[0], 1.3 * span[1])
    first = math.ceil(_power(tightest))
    down, up = ([10.0**power for power in range(first, round(_power(end)) + 1)] for end in (-span[0], span[1]))
    ticks = [*(-value for value in reversed(down)), 0.0, *up]
    axes.set_xticks(ticks, [_tick(value) for value in ticks])
    axes.set_xticks([], minor=True)


def bands(axes: Axes, leagues: Mapping[str, float], *, named: bool) -> None:
    """Shade the leagues: each is everything left of its line; its name stands over what no tighter one has."""
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
    """Write over the middle of a band, in a second row where the first has no room."""
    left, right = (axes.transData.transform((x, 0))[0] for x in band)
    middle, half = (left + right) / 2, text_width(text, SIZE) / 2 + 3
    row = 0 if middle - half >= row_ends[0] else 1
    row_ends[row] = middle + half
    x = axes.transAxes.inverted().transform((middle, 0))[0]
    axes.annotate(
        text, (x, 1), xycoords="axes fraction", xytext=(0, 4 + row * (SIZE + 3)), textcoords="offset points",
        ha="center", va="bottom", fontsize=SIZE, color="#444444",
    )  # fmt: skip


def _power(value: float) -> float:
    return round(math.log10(value), 9)


def _decade(value: float) -> float:
    """The power of ten at or above."""
    return 10.0 ** math.ceil(_power(value))


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    power = round(math.log10(abs(value)))
    return ("−" if value < 0 else "") + (f"1e{power}" if power < 0 else f"{10**power}")
