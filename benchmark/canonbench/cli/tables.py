"""Print a row as tables within 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from canonbench.cli.output import rendered
from canonbench.results import Average, Change, General, Merged, Row, TaskResult

if TYPE_CHECKING:
    from canonbench.likelihood import Estimate


Result = TaskResult | Average
Cells = dict[str, str]
POINTS, NATS = "{:+z.2f}", "{:+z.4f}"  # z: no "-0.00"


def draw_row(row: Row) -> str:
    """Format the row: success and hard negatives per task and on average, general loss, leagues."""
    against = f" against {row.base.name}" if row.base else ""
    limited = f", first {row.limit} rows of every file only" if row.limit else ""
    scored = f"suite {row.suite.name} {row.suite.version}, {row.split} split{limited}"
    parts: list[RenderableType] = [
        Text(f"{row.model.name}{against}", style="bold"),
        scored,
        f"protocol {row.protocol}; {row.dtype} on {row.device}",
    ]
    results: dict[str, Result] = {**(row.tasks or {})}
    if row.average and row.average.n_tasks > 1:
        results["average" if row.average.complete else f"average of {row.average.n_tasks}"] = row.average
    views = {"success, %": _success, "hard negatives, nats": _hard_negatives} if row.base else {"task": _alone}
    for title, cells in views.items():
        parts += ["", table(title, {name: cells(result) for name, result in results.items()})]
    if row.merged is not None:
        parts += ["", table("merged, Δ success", _merged(row.merged, results)), _merging(row.merged)]
    general = _general(row.general) if row.general else ["no general text was scored: no loss ratio, no leagues"]
    return rendered(*parts, "", *general)


def draw_costs(costs: Mapping[str, Estimate]) -> str:
    """Format the cost of an evaluation, by model."""
    rows = {
        name: {"tokens": f"{each.tokens:,}", "FLOPs": f"{each.flops:.2e}", "memory, GB": f"{each.bytes / 1e9:.2f}"}
        for name, each in costs.items()
    }
    return rendered(table("dry run", rows))


def table(title: str, rows: dict[str, Cells]) -> Table:
    """Format one line per name, numbers right-aligned under headers from the cells' keys; averages are highlighted."""
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column(title, overflow="fold")
    for header in next(iter(rows.values())):
        drawn.add_column(header, justify="right", no_wrap=True)
    for name, cells in rows.items():
        drawn.add_row(name, *cells.values(), style="bold" if name.startswith("average") else None)
    return drawn


def _success(result: Result) -> Cells:
    success = result.success
    return {
        "n": _count(result),
        "base": f"{success.base:.2f}",
        "edited": f"{success.edited:.2f}",
        "Δ": POINTS.format(success.delta),
        "[95 %]": interval(success.ci, POINTS),
        "clean rows Δ": _delta(result.clean, POINTS),
    }


def _hard_negatives(result: Result) -> Cells:
    hard = result.hard_negatives
    return {
        "n": _count(hard),
        "base": f"{hard.base:.4f}" if hard else "-",
        "edited": f"{hard.edited:.4f}" if hard else "-",
        "Δ": _delta(hard, NATS),
        "[95 %]": interval(hard.ci, NATS) if hard else "",
    }


def _alone(result: Result) -> Cells:
    hard = result.hard_negatives
    return {
        "n": _count(result),
        "success %": f"{result.success.edited:.2f}",
        "clean rows %": f"{result.clean.edited:.2f}" if result.clean else "-",
        "hard negatives, nats": f"{hard.edited:.4f}" if hard else "-",
    }


def _merged(merged: Merged, results: Mapping[str, Result]) -> dict[str, Cells]:
    """Format each task's loss of success against its own edit."""
    return {
        name: {
            "own edit": _points(edit.own_delta),
            "merged": _delta(results[name].success, POINTS) if name in results else "-",
            "difference": _points(edit.against_own),
        }
        for name, edit in merged.edits.items()
    }


def _merging(merged: Merged) -> str:
    league = f" of league {merged.league}" if merged.league else ""
    unedited = f"; unedited there: {', '.join(merged.unedited)}" if merged.unedited else ""
    return f"{merged.how} of {len(merged.edits)} edits by {', '.join(merged.methods)}{league}{unedited}"


def _points(number: float | None) -> str:
    return "-" if number is None else POINTS.format(number)


def _general(general: General) -> list[str]:
    title = f"general loss on {general.name}: {general.n_chunks:,} chunks, {general.n_tokens:,} tokens"
    if general.ratio is None:
        return [title, f"  nats per token  {general.edited:.6f} (--base places it in a league)"]
    leagues = ", ".join(f"{name} {verdict}" for name, verdict in general.leagues.items())
    lines = [
        title,
        f"  nats per token  {general.base:.6f} base, {general.edited:.6f} edited",
        f"  loss ratio      {general.ratio:.7f} {interval(general.ratio_ci, '{:.7f}')}",
        f"  noise floor     {general.noise_floor:.1e}",
        f"  leagues         {leagues}",
    ]
    if general.straddles:
        lines.append(f"  straddled       {', '.join(general.straddles)} (other text could say otherwise)")
    return lines


def _count(part: object) -> str:
    return str(getattr(part, "n", ""))


def interval(ends: tuple[float, float] | None, number: str) -> str:
    """Format both ends like the number; empty if there is no interval."""
    return f"[{number.format(ends[0])}, {number.format(ends[1])}]" if ends else ""


def _delta(change: Change | None, number: str) -> str:
    return number.format(change.delta) if change else "-"
