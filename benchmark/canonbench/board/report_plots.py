"""The plots of a run's report, drawn as SVG: trajectory, Δ success, loss ratios, hard negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from canonbench.board.document import vegalite_svg
from canonbench.board.plot_parts import PAGE, PRINT, SHAPES, Spec, bands, config, ratio_axis, zero
from canonbench.results import Block, Candidate, LeagueTask, Side, TaskResult

THEME = replace(PAGE, font=PRINT.font, keyed=True)
"""The page's colours, with a font that the converter can measure."""
WIDTH, HEIGHT = 400, 300
"""Size of a plot's area, pixels."""
ROW = 24
"""Height of a task's row, pixels."""
Tasks = Mapping[str, TaskResult]


def trajectory(candidates: Sequence[Candidate], base: Mapping[str, float], leagues: Mapping[str, float]) -> str:
    """Draw success against loss ratio for each candidate; chosen candidates have a ring and their number.

    Args:
        candidates: the candidates of all tasks and seeds.
        base: task to the unedited model's success, percent.
        leagues: label to ε.
    """
    points = [_candidate(each) for each in candidates]
    x, span = ratio_axis([point["excess"] for point in points], leagues)
    for point, candidate in zip(points, candidates, strict=True):
        point["excess"] = span[1] if candidate.rejected else point["excess"]
    several = len({each.seed for each in candidates}) > 1
    scored = [point for point in points if point["success"] is not None]
    heights = [*base.values(), *(point["success"] for point in scored)]
    series, y = _series(list(base)), {**SUCCESS, "scale": _span(heights), "title": "success, %"}
    number = {"type": "text", "dy": -11, "fontSize": 10, "fontWeight": "bold"}
    return _drawn(
        {
            "height": HEIGHT,
            "layer": [
                *bands(leagues, span, THEME),
                {
                    "data": {"values": _paths(scored, base)},
                    "mark": {"type": "line", "strokeWidth": 1 if several else 1.6, "opacity": 0.7},
                    "encoding": {"x": x, "y": y, "color": series["color"], "order": ORDER, "detail": {"field": "seed"}},
                },
                {
                    "data": {"values": _starts(base)},
                    "mark": {"type": "point", "size": 60, "fill": THEME.surface, "strokeWidth": 1.6},
                    "encoding": {"x": x, "y": y, **series, "description": SAID},
                },
                {**_dots(scored, 30 if several else 50), "encoding": {"x": x, "y": y, **series, "description": SAID}},
                {
                    "data": {"values": [point for point in scored if point["chosen"]]},
                    "mark": {"type": "point", "shape": "circle", "size": 190, "strokeWidth": 1.6, "filled": False},
                    "encoding": {"x": x, "y": y, "color": series["color"]},
                },
                {
                    "data": {"values": [point for point in scored if point["chosen"]]},
                    "mark": number,
                    "encoding": {"x": x, "y": y, "color": series["color"], "text": {"field": "number"}},
                },
                {
                    "data": {"values": [point for point in points if point["success"] is None]},
                    "mark": {"type": "tick", "thickness": 2, "size": 12, "orient": "vertical"},
                    "encoding": {"x": x, "y": {"value": HEIGHT - 6}, "color": series["color"], "description": SAID},
                },
            ],
        }
    )


def success(leagues: Mapping[str, Tasks]) -> str:
    """Draw bars of Δ success with 95 % intervals, by task and league; a fixed checkpoint has one unnamed league."""
    values = [
        {
            "task": task,
            "league": league,
            "delta": result.success.delta,
            "low": result.success.ci[0] if result.success.ci else None,
            "high": result.success.ci[1] if result.success.ci else None,
            "said": f"{task} {league}: Δ {result.success.delta:+.2f} points",
        }
        for league, tasks in leagues.items()
        for task, result in tasks.items()
    ]
    names = list(leagues)
    changes = [result.success for tasks in leagues.values() for result in tasks.values()]
    ends = [end for change in changes for end in (change.delta, *(change.ci or ())) if end is not None]
    x = {**DELTA, "scale": _span([0, *ends])}
    y = {"field": "task", "type": "nominal", "title": None, "sort": list(next(iter(leagues.values())))}
    offset = {"field": "league", "sort": names}
    legend = {"title": "league", "orient": "top"} if len(names) > 1 else None
    shade = {
        **{"field": "league", "type": "nominal", "sort": names, "legend": legend},
        "scale": {"domain": names, "range": [0.9 * (len(names) - place) / len(names) for place in range(len(names))]},
    }
    return _drawn(
        {
            "data": {"values": values},
            "height": {"step": max(ROW / (len(names) + 1), 9)},
            "layer": [
                {
                    "mark": {"type": "bar", "color": THEME.colours[0]},
                    "encoding": {"x": x, "y": y, "yOffset": offset, "opacity": shade, "description": SAID},
                },
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "color": THEME.ink, "strokeWidth": 1.4},
                    "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "yOffset": offset},
                },
                zero("x", THEME),
            ],
        }
    )


def ratios(tasks: Tasks, leagues: Mapping[str, float]) -> str | None:
    """Draw each task's loss ratio with its 95 % interval over chunks and the leagues; None if no ratio is known."""
    values = [
        {"task": name, "excess": task.ratio - 1, "said": f"{name}: loss ratio − 1 is {task.ratio - 1:+.2e}"}
        | ({"low": task.ratio_ci[0] - 1, "high": task.ratio_ci[1] - 1} if task.ratio_ci else {})
        for name, task in tasks.items()
        if isinstance(task, LeagueTask) and task.ratio is not None
    ]
    return ratio_intervals(values, leagues) if values else None


def ratio_intervals(values: Sequence[Mapping[str, Any]], leagues: Mapping[str, float]) -> str:
    """Draw points with ``excess``, ``low`` and ``high`` of the loss ratio − 1, one row per ``task``."""
    ends = [value[key] for value in values for key in ("excess", "low", "high") if key in value]
    x, span = ratio_axis(ends, leagues)
    names = [value["task"] for value in values]
    y = {"field": "task", "type": "nominal", "title": None, "sort": names}
    return _drawn(
        {
            "data": {"values": list(values)},
            "height": ROW * len(names),
            "layer": [
                *bands(leagues, span, THEME),
                {
                    "transform": [{"filter": "isValid(datum.low)"}],
                    "mark": {"type": "rule", "color": THEME.ink, "strokeWidth": 1.6},
                    "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 70, "color": THEME.colours[0]},
                    "encoding": {"x": x, "y": y, "description": SAID},
                },
            ],
        }
    )


def hard_negatives(sides: Mapping[str, Side]) -> str | None:
    """Draw −log p of each hard negative before and after, for the first seed; None if there is none with a base."""
    pairs = [
        (task, *pair) for task, side in sides.items() for block in side.hard_negatives[:1] for pair in _pairs(block)
    ]
    if not pairs:
        return None
    values = [
        {"task": task, "base": round(before, 3), "edited": round(after, 3),
         "said": f"{task} {subject}: {before:.2f} → {after:.2f} nats"}
        for task, subject, before, after in pairs
    ]  # fmt: skip
    top = max(max(before, after) for _, _, before, after in pairs)
    scale = {"domain": [0, top], "nice": True}
    x = {"field": "base", "type": "quantitative", "title": "base, −log p, nats", "scale": scale}
    y = {"field": "edited", "type": "quantitative", "title": "edited, −log p, nats", "scale": scale}
    return _drawn(
        {
            "height": WIDTH,
            "layer": [
                {
                    "data": {"values": [{"base": 0, "edited": 0}, {"base": top, "edited": top}]},
                    "mark": {"type": "line", "color": THEME.faint, "strokeDash": [3, 3], "strokeWidth": 1},
                    "encoding": {"x": x, "y": y},
                },
                {
                    **_dots(values, 30),
                    "encoding": {
                        "x": x,
                        "y": y,
                        **_series(list(sides)),
                        "opacity": {"value": 0.65},
                        "description": SAID,
                    },
                },
            ],
        }
    )


SUCCESS: Spec = {"field": "success", "type": "quantitative"}
DELTA: Spec = {"field": "delta", "type": "quantitative", "title": "Δ success, points, with 95 % interval"}
ORDER: Spec = {"field": "number", "type": "quantitative"}
SAID: Spec = {"field": "said", "type": "nominal"}


def _span(values: Sequence[float]) -> Spec:
    """Axis range from the lowest to the highest of these percentages, at least two points long."""
    low, high = min(values), max(values)
    missing = max(0.0, 2 - (high - low)) / 2
    return {"domain": [low - missing, high + missing], "nice": True, "zero": False}


def _candidate(each: Candidate) -> dict[str, Any]:
    where = "beyond every league" if each.rejected else f"loss ratio − 1 {each.ratio - 1:+.2e}"
    what = "in no league, so not scored" if each.success is None else f"success {each.success:.1f} %"
    chosen = f", chosen for {', '.join(each.chosen)}" if each.chosen else ""
    return {
        "task": each.task,
        "seed": each.seed,
        "number": each.number,
        "excess": each.ratio - 1,
        "success": each.success,
        "chosen": bool(each.chosen),
        "said": f"{each.task}, seed {each.seed}, candidate {each.number}: {where}, {what}{chosen}",
    }


def _paths(scored: Sequence[Mapping[str, Any]], base: Mapping[str, float]) -> list[dict[str, Any]]:
    """For each task and seed, the unedited model followed by the candidates that were scored."""
    by_run = groupby(sorted(scored, key=_run_of), key=_run_of)
    return [
        {**point, "task": task, "seed": seed}
        for (task, seed), run in by_run
        for point in [{"excess": 0.0, "success": base[task], "number": 0}, *run]
    ]


def _run_of(point: Mapping[str, Any]) -> tuple[str, int]:
    return point["task"], point["seed"]


def _starts(base: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {"task": task, "excess": 0.0, "success": value, "said": f"{task}, unedited: success {value:.1f} %"}
        for task, value in base.items()
    ]


def _pairs(block: Block) -> list[tuple[str, float, float]]:
    if block.base is None:
        return []
    return list(zip(block.clusters, block.base.tolist(), block.edited.tolist(), strict=True))


def _series(tasks: Sequence[str]) -> Spec:
    legend = {"title": None, "orient": "bottom", "columns": 6} if len(tasks) > 1 else None
    colours = [THEME.colours[number % len(THEME.colours)] for number in range(len(tasks))]
    shapes = [SHAPES[number % len(SHAPES)] for number in range(len(tasks))]
    field = {"field": "task", "type": "nominal", "legend": legend}
    return {
        "color": {**field, "scale": {"domain": list(tasks), "range": colours}},
        "shape": {**field, "scale": {"domain": list(tasks), "range": shapes}},
    }


def _dots(values: Sequence[Mapping[str, Any]], size: int) -> Spec:
    return {"data": {"values": list(values)}, "mark": {"type": "point", "filled": True, "size": size}}


def _drawn(spec: Spec) -> str:
    return vegalite_svg({"width": WIDTH, "padding": 4, "config": config(THEME), **spec})
