"""Print a comparison of two runs: tables within 80 columns, and the flipped rows with their texts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from rich.console import RenderableType
from rich.text import Text

from canonbench.cli.output import WIDTH, rendered
from canonbench.cli.tables import NATS, POINTS, Cells, interval, table
from canonbench.results import ChangedRow, Difference, Finished, TaskComparison, is_complete
from canonbench.runs import Compared
from canonbench.suite import Example

RATIO, RATIO_CHANGE = "{:.7f}", "{:+z.1e}"
INDENT = "    "


def draw_comparison(report: Compared) -> str:
    """Format the comparison: the runs, differences per task and on average, and the flipped rows."""
    whole = report.comparison
    average = "average" if is_complete(tuple(whole.tasks)) else f"average of {len(whole.tasks)}"
    success: dict[str, Cells] = {
        name: {"n": str(task.n), **_cells(task.success, "{:.2f}", POINTS)} for name, task in whole.tasks.items()
    }
    hard = {name: _cells(task.hard_negatives, "{:.4f}", NATS) for name, task in whole.tasks.items()}
    if len(whole.tasks) > 1:
        success[average] = {"n": "", **_cells(whole.success, "{:.2f}", POINTS)}
        hard[average] = _cells(whole.hard_negatives, "{:.4f}", NATS)
    changed = {name: _mcnemar(task) for name, task in whole.tasks.items()}
    tables = {
        "success, %": success,
        "rows that changed sides": changed,
        "hard negatives, nats": hard,
        **_general(report),
    }
    parts: list[RenderableType] = list(_heading(report))
    for title, rows in tables.items():
        parts += ["", table(title, rows)]
    for name in whole.tasks:
        parts += _flips(report, name)
    return rendered(*parts)


def _heading(report: Compared) -> list[RenderableType]:
    row = report.first.row
    lines: list[RenderableType] = [
        Text(f"{label}  {run.path}: {_what(run)}", style="bold")
        for label, run in (("first ", report.first), ("second", report.second))
    ]
    lines += [f"suite {row.suite.name} {row.suite.version}, {row.split} split; protocol {row.protocol}"]
    if report.league is not None:
        others = f" (there is also {', '.join(report.others)}: --league)" if report.others else ""
        lines += [f"league {report.league}{others}"]
    repetitions = [report.repetitions(run) for run in (report.first, report.second)]
    if max(repetitions) > 1:
        lines += [
            f"seeds: {repetitions[0]} and {repetitions[1]}, averaged; rows that changed sides: of each run's first seed"
        ]
    return [*lines, *report.notes]


def _what(run: Finished) -> str:
    row = run.row
    if row.method is not None:
        return f"{row.method} on {row.model.name}"
    return f"{row.model.name} against {row.base.name}" if row.base else row.model.name


def _cells(difference: Difference | None, number: str, change: str) -> Cells:
    if difference is None:
        return {"first": "-", "second": "-", "Δ": "-", "[95 %]": ""}
    return {
        "first": number.format(difference.first),
        "second": number.format(difference.second),
        "Δ": change.format(difference.delta),
        "[95 %]": interval(difference.ci, change),
    }


def _mcnemar(task: TaskComparison) -> Cells:
    return {
        "first only": str(task.only("first")),
        "second only": str(task.only("second")),
        "McNemar p": f"{task.mcnemar_p:.2g}",
    }


def _general(report: Compared) -> Mapping[str, dict[str, Cells]]:
    """Loss ratios per task, or once if neither run has one model per task; losses if a run has no base."""
    whole = report.comparison
    if whole.measure is None:
        return {}
    title, number, change = (
        ("loss ratio", RATIO, RATIO_CHANGE)
        if whole.measure == "ratio"
        else ("general loss, nats", "{:.6f}", "{:+z.6f}")
    )
    rows = {name: _cells(task.general, number, change) for name, task in whole.tasks.items()}
    return {title: rows if report.league is not None else {"all tasks": next(iter(rows.values()))}}


def _flips(report: Compared, task: str) -> list[RenderableType]:
    shown = report.shown_flips(task)
    flips = report.comparison.tasks[task].flips
    if not flips:
        return []
    left_out = f" ({len(flips) - len(shown)} with a smaller change in loss left out)" if len(shown) < len(flips) else ""
    title = f"{task}: {len(flips)} row{'s' if len(flips) > 1 else ''} changed sides{left_out}"
    parts: list[RenderableType] = ["", Text(title, style="bold")]
    for flip in shown:
        parts += _flip(flip, report.texts.get(task, {}).get(flip.index))
    return parts


def _flip(flip: ChangedRow, text: Example | None) -> list[str]:
    about = f" ({flip.subject})" if flip.subject else ""
    answers = [f"{answer!r}" for answer in text[1:]] if text else ["y^A", "y^B"]
    lines = [f"  row {flip.index}{about}, {flip.succeeds} only"]
    if text:
        lines += _wrapped(repr(text.prefix), INDENT)
    for answer, before, after in zip(answers, flip.first.p, flip.second.p, strict=False):
        lines += _wrapped(f"-> {answer}: first {_percent(before)}, second {_percent(after)}", INDENT, "   ")
    return lines


def _wrapped(text: str, indent: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + hanging)


def _percent(probability: float) -> str:
    return f"{100 * probability:.3g} %"
