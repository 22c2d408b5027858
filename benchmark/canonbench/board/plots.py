"""Draw the board's three plots: Δ success against loss ratio, against hard negatives, and by model size.

They are Vega-Lite specifications without points; a point has the fields of ``points.Point``. The web page adds the
points that pass its filters to the same specifications from which the SVG pictures are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from canonbench.board.board import Board
from canonbench.board.document import vegalite_svg
from canonbench.board.plot_parts import PRINT, Look, Spec, Theme, bands, config, looks, ratio_axis, zero
from canonbench.board.points import Field, Point, fields, points


def against_ratio(excess: Sequence[float], leagues: Mapping[str, float], looks: Sequence[Look], theme: Theme) -> Spec:
    """Specify Δ success against loss ratio − 1, with leagues as bands; a line joins one row's points in all leagues.

    Args:
        excess: ratio − 1 of all possible points, which determine the axis.
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
    """Specify Δ success against the change on hard negatives; right of the line, the edit over-generalised."""
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
    """Specify Δ success by model size; a line joins the means of a method."""
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
"""Numbers of parameters at the ticks."""
SUCCESS: Spec = {"field": "delta", "type": "quantitative", "title": "Δ success, points", "scale": {"zero": True}}
LOW: Spec = {"field": "low", "type": "quantitative", "title": "Δ success, points"}
HIGH: Spec = {"field": "high"}
MARKED: Spec = {"opacity": {"condition": {"test": "datum.aside === true", "value": 0.3}, "value": 0.95}}
"""Opacity of a point; ``aside`` marks one of another league than the selected one, which is faded."""
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


WIDTH, HEIGHT = 560, 320
"""Size of a plot's area in pixels, without axes."""
FACET = 250
"""Width in pixels of each league's part, if leagues are drawn side by side."""


def plots(board: Board) -> dict[str, str]:
    """Draw the plots of every group and track: file names and their SVG; a plot without points is left out.

    The same board gives the same bytes.

    Raises:
        CanonbenchError: the package that draws is not installed.
    """
    found = {}
    for field in fields(board):
        drawn = list(points(field))
        for name, spec in _specs(field, drawn).items():
            found[f"{_slug(f'{field.name} {field.track}')}-{name}.svg"] = vegalite_svg(spec)
    return found


def _specs(field: Field, drawn: Sequence[Point]) -> dict[str, Spec]:
    styles = looks(field.methods, PRINT)
    excess = [each["excess"] for each in drawn if each["excess"] is not None]
    found: dict[str, Spec] = {}
    if excess:
        inner = against_ratio(excess, field.leagues, styles, PRINT)
        with_ratio = [each for each in drawn if each["excess"] is not None]
        found["loss-ratio"] = _picture({"width": WIDTH, "height": HEIGHT, **inner}, with_ratio)
    if any(each["hard"] is not None for each in drawn):
        found["hard-negatives"] = _picture(_by_league(against_hard_negatives(styles, PRINT)), drawn)
    if len({each["size"] for each in drawn if each["size"] is not None}) > 1:
        found["model-size"] = _picture(_by_league(by_size(styles, PRINT)), drawn)
    return found


def _by_league(inner: Spec) -> Spec:
    header = {"title": None, "labelExpr": "'league ' + datum.label"}
    leagues = {"field": "league", "type": "nominal", "header": header, "sort": {"field": "epsilon"}}
    return {"facet": {"column": leagues}, "spec": {"width": FACET, "height": HEIGHT, **inner}}


def _picture(spec: Spec, drawn: Sequence[Point]) -> Spec:
    values: list[dict[str, Any]] = [{**each, "epsilon": float(each["league"])} for each in drawn]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": values},
        "config": {**config(PRINT), "background": PRINT.surface},
        "padding": 12,
        **spec,
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
