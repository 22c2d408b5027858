"""A row as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from canonbench.leaderboard import Average, General, Row, TaskResult
from canonbench.leaderboard.row_results import Change


def print_row(row: Row) -> None:
    """Print the row to standard output: one line per task, the average, general loss and leagues."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    against = f" against {row.base.name}" if row.base else ""
    console.print(f"\n{row.model.name}{against}", style="bold", markup=False)
    limited = f", first {row.limit} rows only" if row.limit else ""
    suite = f"suite {row.suite.name} {row.suite.version}, {row.split} split{limited}"
    console.print(f"{suite}; protocol {row.protocol}; {row.dtype} on {row.device}\n", markup=False)
    console.print(_table(row))
    if row.general:
        console.print(_general(row.general), markup=False)


def _table(row: Row) -> Table:
    fill = _columns_with_base if row.base else _columns_alone
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    rows: dict[str, TaskResult | Average] = {**(row.tasks or {})}
    if row.average:
        rows["average" if row.average.complete else f"average of {row.average.n_tasks}"] = row.average
    cells = {name: fill(result) for name, result in rows.items()}
    table.add_column("task")
    for header in next(iter(cells.values())):
        table.add_column(header, justify="right")
    for name, values in cells.items():
        table.add_row(name, *values.values(), style="bold" if name.startswith("average") else None)
    return table


def _columns_alone(result: TaskResult | Average) -> dict[str, str]:
    hard = result.hard_negatives
    return {
        "n": str(result.n) if isinstance(result, TaskResult) else "",
        "success %": f"{result.success.edited:.2f}",
        "clean rows %": f"{result.clean.edited:.2f}" if result.clean else "-",
        "hard negatives NLL": f"{hard.edited:.4f}" if hard else "-",
    }


def _columns_with_base(result: TaskResult | Average) -> dict[str, str]:
    hard = result.hard_negatives
    return {
        "n": str(result.n) if isinstance(result, TaskResult) else "",
        "base %": f"{result.success.base:.2f}",
        "edited %": f"{result.success.edited:.2f}",
        "Δ points": f"{result.success.delta:+.2f}",
        "[95 %]": _interval(result.success.ci, "{:+.2f}".format),
        "clean Δ": _signed(result.clean, "{:+.2f}".format),
        "hard negatives Δ": _signed(hard, "{:+.4f}".format),
        "[95 %] ": _interval(hard.ci if hard else None, "{:+.4f}".format),
    }


def _general(general: General) -> str:
    measured = f"\ngeneral loss on {general.name} ({general.n_chunks:,} chunks, {general.n_tokens:,} tokens): "
    if general.ratio is None:
        return measured + f"{general.edited:.6f} nats per token; give --base to place it in a league"
    interval = _interval(general.ratio_ci, "{:.6f}".format)
    leagues = ", ".join(f"{name} {verdict}" for name, verdict in general.leagues.items())
    return (
        f"{measured}{general.base:.6f} -> {general.edited:.6f} nats per token\n"
        f"loss ratio {general.ratio:.7f} {interval}, noise floor {general.noise_floor:.1e}\nleagues: {leagues}"
    )


def _interval(interval: tuple[float, float] | None, show: Callable[[float], str]) -> str:
    return f"[{show(interval[0])}, {show(interval[1])}]" if interval else ""


def _signed(change: Change | None, show: Callable[[float], str]) -> str:
    return show(change.delta) if change and change.delta is not None else "-"
