"""The board's plots as pictures: success against loss ratio and hard negatives, and by model size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from canonbench.leaderboard.board import Board
from canonbench.leaderboard.pages.plot_parts import PRINT, Spec, config, looks
from canonbench.leaderboard.pages.plot_specs import against_hard_negatives, against_ratio, by_size
from canonbench.leaderboard.pages.points import Field, Point, fields, points
from canonbench.leaderboard.pages.vendored import vegalite_svg

WIDTH, HEIGHT = 560, 320
"""Pixels, of what lies between a plot's axes."""
FACET = 250
"""Pixels, of each league's part where they stand side by side."""


def plots(board: Board) -> dict[str, str]:
    """File names and their SVG, for every group and track; a plot without a point is left out.

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
