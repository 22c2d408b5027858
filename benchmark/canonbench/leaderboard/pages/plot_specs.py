"""The board's three plots as Vega-Lite specifications: what is drawn, apart from the points themselves.

A point has the fields of ``plots.Point``. The web page feeds the points that its filters leave over into the same
specifications from which the pictures beside it are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from canonbench.leaderboard.pages.plot_parts import Look, Spec, Theme, bands, ratio_axis, zero


def against_ratio(excess: Sequence[float], leagues: Mapping[str, float], looks: Sequence[Look], theme: Theme) -> Spec:
    """Δ success against loss ratio − 1, leagues as bands; a line joins what one row reached in each league.

    Args:
        excess: ratio − 1 of all points there may be, which decide on the axis.
        leagues: label to ε.
    """
    x, span = ratio_axis(excess, leagues)
    series = _series(looks, theme)
    return {
        "layer": [
            *bands(leagues, span, theme),
            zero("y", theme),
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
            zero("y", theme),
            zero("x", theme),
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
            zero("y", theme),
            {**_line(), "encoding": {"x": x, "y": mean, "color": series["color"]}},
            {**_interval(), "encoding": {"x": x, "y": LOW, "y2": HIGH, "color": series["color"]}},
            {**_point(theme), "encoding": {"x": x, "y": SUCCESS, **series, **MARKED, "tooltip": TOOLTIP}},
        ],
    }


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
