"""The board's three plots as Vega-Lite specifications: what is drawn, apart from the points themselves.

A point has the fields of ``plots.Point``. The web page feeds the points that its filters leave over into the same
specifications from which the pictures beside it are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
Look = dict[str, str]
"""``method``, ``colour`` and ``shape``."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
"""As many as with seven colours give 42 looks before one returns."""


@dataclass(frozen=True)
class Theme:
    """The colours of a plot."""

    ink: str
    faint: str
    grid: str
    surface: str
    colours: tuple[str, ...]
    """Okabe and Ito's, which colour-blind people tell apart too; without black and their yellow."""
    bands: tuple[str, ...]
    """Of the leagues from the tightest, and of what lies in none; further ones look like the last."""
    font: str
    keyed: bool
    """Whether each plot has its own key."""


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
    """A colour and a shape for every method, in their order."""
    return [
        {
            "method": method,
            "colour": theme.colours[number % len(theme.colours)],
            "shape": SHAPES[number % len(SHAPES)],
        }
        for number, method in enumerate(methods)
    ]


def against_ratio(excess: Sequence[float], leagues: Mapping[str, float], looks: Sequence[Look], theme: Theme) -> Spec:
    """Δ success against loss ratio − 1, leagues as bands; a line joins what one row reached in each league.

    Args:
        excess: ratio − 1 of all points there may be, which decide on the axis.
        leagues: label to ε.
    """
    tightest, loosest = min(leagues.values()), max(leagues.values())
    low = -_decade(max(tightest, -min(excess, default=0.0)))
    high = max(4 * loosest, 1.2 * max(excess, default=0.0))
    scale = {"type": "symlog", "constant": tightest, "domain": [1.3 * low, high], "nice": False}
    x = {
        "field": "excess",
        "type": "quantitative",
        "scale": scale,
        "title": "loss ratio − 1 on general text",
        "axis": {"values": _ticks(low, high, tightest), "labelExpr": TICK, "grid": False},
    }
    series = _series(looks, theme)
    return {
        "layer": [
            *_bands(leagues, (1.3 * low, high), tightest, theme),
            _zero("y", theme),
            {**_line(), "encoding": {"x": x, "y": SUCCESS, "color": series["color"], "detail": {"field": "row"}}},
            {**_interval(), "encoding": {"x": x, "y": LOW, "y2": HIGH, "color": series["color"]}},
            {**_point(theme), "encoding": {"x": x, "y": SUCCESS, **series, **MARKED, "tooltip": TOOLTIP}},
        ]
    }


def against_hard_negatives(looks: Sequence[Look], theme: Theme) -> Spec:
    """Δ success against the change on hard negatives; right of the line the edit spread too far."""
    x = {
        "field": "hard",
        "type": "quantitative",
        "title": "hard negatives Δ, nats (right: worse)",
        "scale": {"zero": True},
    }
    series = _series(looks, theme)
    return {
        "transform": [{"filter": "isValid(datum.hard)"}],
        "layer": [
            _zero("y", theme),
            _zero("x", theme),
            {**_interval(), "encoding": {"x": x, "y": LOW, "y2": HIGH, "color": series["color"]}},
            {**_point(theme), "encoding": {"x": x, "y": SUCCESS, **series, **MARKED, "tooltip": TOOLTIP}},
        ],
    }


def by_size(looks: Sequence[Look], theme: Theme) -> Spec:
    """Δ success by model size; a line joins the means of a method."""
    x = {
        "field": "size",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 12},
        "title": "parameters of the base model",
        "axis": {
            "format": ".2~s",
            "labelExpr": "replace(datum.label, 'G', 'B')",
            "values": SIZES,
            "grid": False,
        },
    }
    series = _series(looks, theme)
    mean = {**SUCCESS, "aggregate": "mean"}
    return {
        "transform": [{"filter": "isValid(datum.size)"}],
        "layer": [
            _zero("y", theme),
            {**_line(), "encoding": {"x": x, "y": mean, "color": series["color"]}},
            {**_interval(), "encoding": {"x": x, "y": LOW, "y2": HIGH, "color": series["color"]}},
            {**_point(theme), "encoding": {"x": x, "y": SUCCESS, **series, **MARKED, "tooltip": TOOLTIP}},
        ],
    }


def config(theme: Theme) -> Spec:
    """How axes and lettering look."""
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


TICK = "datum.value == 0 ? '0' : (datum.value < 0 ? '−' : '') + '1e' + format(round(log(abs(datum.value)) / LN10), 'd')"
SIZES = [1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10, 3e10, 1e11, 3e11]
"""Parameters, at the ticks."""
SUCCESS: Spec = {"field": "delta", "type": "quantitative", "title": "Δ success, points", "scale": {"zero": True}}
LOW: Spec = {"field": "low", "type": "quantitative", "title": "Δ success, points"}
HIGH: Spec = {"field": "high"}
MARKED: Spec = {"opacity": {"condition": {"test": "datum.aside === true", "value": 0.3}, "value": 0.95}}
"""A point may be put aside: it belongs to another league than the one that is asked for."""
TOOLTIP: list[Spec] = [
    {"field": "method", "title": "method"},
    {"field": "base", "title": "base model"},
    {"field": "league", "title": "league"},
    {"field": "delta", "type": "quantitative", "format": "+.2f", "title": "Δ success, points"},
    {"field": "hard", "type": "quantitative", "format": "+.4f", "title": "hard negatives Δ, nats"},
    {"field": "excess", "type": "quantitative", "format": "+.2e", "title": "loss ratio − 1"},
]


def _series(looks: Sequence[Look], theme: Theme) -> Spec:
    names = [look["method"] for look in looks]
    legend = {"title": None, "symbolLimit": 0} if theme.keyed else None
    return {
        "color": {"field": "method", "type": "nominal", "legend": legend,
                  "scale": {"domain": names, "range": [look["colour"] for look in looks]}},
        "shape": {"field": "method", "type": "nominal", "legend": legend,
                  "scale": {"domain": names, "range": [look["shape"] for look in looks]}},
    }  # fmt: skip


def _point(theme: Theme) -> Spec:
    return {"mark": {"type": "point", "filled": True, "size": 70, "stroke": theme.surface, "strokeWidth": 0.8}}


def _line() -> Spec:
    return {"mark": {"type": "line", "strokeWidth": 1.2, "opacity": 0.5}}


def _interval() -> Spec:
    return {
        "transform": [{"filter": "isValid(datum.low) && datum.aside !== true"}],
        "mark": {"type": "rule", "strokeWidth": 1.4, "opacity": 0.45},
    }


def _zero(axis: str, theme: Theme) -> Spec:
    return {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "color": theme.faint, "strokeDash": [3, 3], "strokeWidth": 1},
        "encoding": {axis: {"datum": 0}},
    }


def _bands(leagues: Mapping[str, float], span: tuple[float, float], constant: float, theme: Theme) -> list[Spec]:
    """Each league is everything left of its line; its name stands over what no tighter one has."""
    ordered = sorted(leagues.items(), key=lambda league: league[1])
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
    """Halfway between two places of a symlog axis."""

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
    """The power of ten at or above."""
    return 10.0 ** math.ceil(round(math.log10(value), 9))
