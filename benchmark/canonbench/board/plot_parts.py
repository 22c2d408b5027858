"""Parts shared by all Vega-Lite plots: colours, fonts, and the axis of loss ratio − 1 with its leagues."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Spec = dict[str, Any]
Look = dict[str, str]
"""The look of a method: ``method``, ``colour`` and ``shape``."""
BEYOND = 50
"""The axis extends to this multiple of the loosest ε."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
"""Marker shapes; with seven colours they give 42 looks before one repeats."""


@dataclass(frozen=True)
class Theme:
    """The colours of a plot."""

    ink: str
    faint: str
    grid: str
    surface: str
    colours: tuple[str, ...]
    """Okabe and Ito's colours, which colour-blind people can tell apart; without black and their yellow."""
    bands: tuple[str, ...]
    """Colours of the leagues, from the tightest, and of the area outside; further leagues have the last colour."""
    font: str
    keyed: bool
    """Whether each plot has its own legend."""


PRINT = Theme(
    ink="#1c1f24",
    faint="#5b626d",
    grid="#e4e6ea",
    surface="#ffffff",
    colours=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A5195"),
    bands=("#dde3ea", "#e9edf2", "#f4f6f8", "#ffffff"),
    font="Liberation Sans, Arial, sans-serif",  # the converter brings its own Liberation Sans
    keyed=True,
)
PAGE = Theme(
    ink="var(--ink)",
    faint="var(--faint)",
    grid="var(--line)",
    surface="var(--surface)",
    colours=tuple(f"var(--series-{number})" for number in range(1, 8)),
    bands=tuple(f"var(--band-{number})" for number in range(1, 5)),
    font="system-ui, sans-serif",
    keyed=False,
)
"""style.css gives the colours, lighter ones in the dark; the page has one key for all plots."""


def looks(methods: Sequence[str], theme: Theme) -> list[Look]:
    """Assign a colour and a shape to every method, in their order."""
    return [
        {
            "method": method,
            "colour": theme.colours[number % len(theme.colours)],
            "shape": SHAPES[number % len(SHAPES)],
        }
        for number, method in enumerate(methods)
    ]


TICK = "datum.value == 0 ? '0' : (datum.value < 0 ? '−' : '') + '1e' + format(round(log(abs(datum.value)) / LN10), 'd')"
"""Vega expression for the tick labels of the axis of loss ratio − 1."""


class RatioAxis(NamedTuple):
    """The axis of loss ratio − 1."""

    x: Spec
    """Encoding of the field ``excess``."""
    span: tuple[float, float]


def ratio_axis(excess: Sequence[float], leagues: Mapping[str, float]) -> RatioAxis:
    """Make an axis that is linear inside the tightest league and logarithmic on both sides of it.

    Args:
        excess: ratio − 1 of all points; those beyond 50 times the loosest ε are drawn at the edge.
        leagues: label to ε.
    """
    tightest, loosest = min(leagues.values()), max(leagues.values())
    low = -_decade(max(tightest, -min(excess, default=0.0)))
    high = max(4 * loosest, min(1.2 * max(excess, default=0.0), BEYOND * loosest))
    span = (1.3 * low, high)
    x = {
        "field": "excess",
        "type": "quantitative",
        "scale": {"type": "symlog", "constant": tightest, "domain": list(span), "nice": False, "clamp": True},
        "title": "loss ratio − 1 on general text",
        "axis": {"values": _ticks(low, high, tightest), "labelExpr": TICK, "grid": False},
    }
    return RatioAxis(x, span)


def config(theme: Theme) -> Spec:
    """Vega-Lite configuration of axes and text."""
    text = {"labelColor": theme.faint, "titleColor": theme.ink, "labelFontSize": 11, "titleFontSize": 12}
    return {
        "background": None,
        "font": theme.font,
        "view": {"stroke": None},
        "axis": {
            **text, "titleFontWeight": "normal", "gridColor": theme.grid, "domainColor": theme.faint,
            "tickColor": theme.faint, "titlePadding": 8,
        },
        "legend": {**text, "titleFontWeight": "normal", "symbolSize": 80},
        "header": {**text, "titleFontWeight": "normal"},
    }  # fmt: skip


def zero(axis: str, theme: Theme) -> Spec:
    """Layer with a dashed line at x = 0 or y = 0."""
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": theme.faint, "strokeDash": [3, 3], "strokeWidth": 1},
        "encoding": {axis: {"datum": 0}},
    }


def bands(leagues: Mapping[str, float], span: tuple[float, float], theme: Theme) -> list[Spec]:
    """Layers of the leagues: each is everything left of its line; its name is over the part that no tighter one has."""
    ordered = sorted(leagues.items(), key=lambda league: league[1])
    constant = ordered[0][1]
    fills = [theme.bands[min(number, len(theme.bands) - 2)] for number in range(len(ordered))]
    edges = [span[0], *(epsilon for _, epsilon in ordered), span[1]]
    values = [
        {"from": start, "to": end, "name": name, "middle": _middle(start, end, constant), "fill": fill}
        for (name, _), start, end, fill in zip(
            [*ordered, ("no league", 0.0)], edges[:-1], edges[1:], [*fills, theme.bands[-1]], strict=True
        )
    ]
    across = {"field": "from", "type": "quantitative"}
    return [
        {
            "data": {"values": values},
            "mark": {"type": "rect", "tooltip": None},
            "encoding": {"x": across, "x2": {"field": "to"}, "color": {"field": "fill", "scale": None}},
        },
        {
            "data": {"values": values},
            "mark": {"type": "text", "baseline": "bottom", "fontSize": 11, "color": theme.faint},
            "encoding": {
                "x": {"field": "middle", "type": "quantitative"},
                "y": {"value": -4},
                "text": {"field": "name"},
            },
        },
    ]


def _middle(start: float, end: float, constant: float) -> float:
    """Midpoint of two positions on a symlog axis."""

    def there(x: float) -> float:
        return math.copysign(math.log1p(abs(x) / constant), x)

    half = (there(start) + there(end)) / 2
    return math.copysign(math.expm1(abs(half)) * constant, half)


def _ticks(low: float, high: float, tightest: float) -> list[float]:
    first = round(math.log10(tightest))
    return [
        *(-(10.0**power) for power in range(round(math.log10(-low)), first - 1, -1)),
        0.0,
        *(10.0**power for power in range(first, math.floor(math.log10(high)) + 1)),
    ]


def _decade(value: float) -> float:
    """The smallest power of ten that is not below the value."""
    return 10.0 ** math.ceil(round(math.log10(value), 9))
