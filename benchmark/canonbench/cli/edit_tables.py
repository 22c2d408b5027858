"""Print an edit run's row as tables, one per league, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from canonbench.cli.output import WIDTH, rendered
from canonbench.cli.tables import Cells, interval
from canonbench.results import Average, League, LeagueTask, Row

POINTS, NATS = "{:+z.1f}", "{:+z.3f}"
UNEDITED = "unedited"
COLUMNS = ("n", "base", "edited", "Δ", "[95 %]", "±", "hard Δ", "ratio-1", "candidate")


def draw_edit(row: Row, folder: Path | None) -> str:
    """Format the row of an edit run as text.

    Args:
        row: a row that has leagues.
        folder: folder with the run's results.
    """
    assert row.leagues is not None
    assert row.general is not None
    repetitions = max(len(task.seeds or ()) for league in row.leagues.values() for task in league.tasks.values())
    repeated = f"{repetitions} seed{'s' if repetitions > 1 else ''}"
    limited = f", first {row.limit} rows of every file only" if row.limit else ""
    parts: list[RenderableType] = [
        Text(f"{row.method} on {row.model.name}", style="bold"),
        f"suite {row.suite.name} {row.suite.version}, {row.split} split{limited}",
        f"general text {row.general.name}; protocol {row.protocol}; {row.dtype} on {row.device}; {repeated}",
    ]
    tables = {name: _cells(league) for name, league in row.leagues.items()}
    gap = min(_gap(rows) for rows in tables.values())
    for name, league in row.leagues.items():
        parts += ["", Text(f"league {name}", style="bold"), _table(tables[name], gap), *_notes(league)]
    parts += ["", *_key(repetitions), *(_places(folder) if folder else ())]
    return rendered(*parts)


def _key(repetitions: int) -> Iterator[str]:
    yield "success in percent, Δ in points; hard Δ: hard negatives, nats (positive: worse)"
    error = "; ±: standard error of edited over seeds" if repetitions > 1 else ""
    yield f"ratio-1: rise of the general loss{error}"


def _cells(league: League) -> dict[str, Cells]:
    """The cells of a league's table, by row and column."""
    rows = {name: _task(task) for name, task in league.tasks.items()}
    average = league.average
    if average.n_tasks > 1:
        rows["average" if average.complete else f"average of {average.n_tasks}"] = _average(average)
    columns = [name for name in COLUMNS if name != "±" or any(cells.get("±") for cells in rows.values())]
    return {name: {column: cells.get(column, "") for column in columns} for name, cells in rows.items()}


def _gap(rows: dict[str, Cells]) -> int:
    """Number of blanks between columns: two if they fit."""
    columns = next(iter(rows.values()))
    widths = [max(len(each) for each in (column, *(cells[column] for cells in rows.values()))) for column in columns]
    return 2 if max(map(len, rows)) + sum(widths) + 2 * len(widths) <= WIDTH else 1


def _table(rows: dict[str, Cells], gap: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    table.add_column("task", overflow="fold")
    for header in next(iter(rows.values())):
        table.add_column(header, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells.values(), style="bold" if name.startswith("average") else None)
    return table


def _task(task: LeagueTask) -> Cells:
    taken = [seed.candidate for seed in task.seeds or ()] or [task.candidate]
    hard = NATS.format(task.hard_negatives.delta) if task.hard_negatives else "-"
    cells = {"n": str(task.n), **_success(task), "hard Δ": hard, "candidate": _taken(taken)}
    if not any(taken):
        return {**cells, "[95 %]": ""}
    return {
        **cells,
        "±": "" if task.standard_error is None else f"{task.standard_error:.1f}",
        "ratio-1": "-" if task.ratio is None else _excess(task.ratio),
    }


def _average(average: Average) -> Cells:
    hard = average.hard_negatives
    return {**_success(average), "hard Δ": NATS.format(hard.delta) if hard else "-"}


def _success(result: LeagueTask | Average) -> Cells:
    success = result.success
    return {
        "base": f"{success.base:.1f}",
        "edited": f"{success.edited:.1f}",
        "Δ": POINTS.format(success.delta),
        "[95 %]": interval(success.ci, POINTS),
    }


def _taken(candidates: list[int | None]) -> str:
    """Format candidate numbers, as a range if the seeds differ."""
    numbers = sorted({number for number in candidates if number is not None})
    if not numbers:
        return UNEDITED
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _excess(ratio: float) -> str:
    """Format ratio − 1 like a league: +9.8e-4."""
    return f"{ratio - 1:+.1e}".replace("e-0", "e-").replace("e+0", "e+") if ratio != 1 else "0"


def _notes(league: League) -> Iterator[str]:
    """Notes below the table, for what has no column."""
    for name, task in league.tasks.items():
        seeds = task.seeds or ()
        unedited = sum(seed.candidate is None for seed in seeds)
        if 0 < unedited < len(seeds):
            yield f"  {name}: {unedited} of {len(seeds)} seeds have no candidate in this league and count as unedited"
        if task.membership == "uncertain":
            yield f"  {name}: uncertain whether in this league, the ratio is too near to its limit"
        if task.straddles:
            yield f"  {name}: on other text the ratio could be across the limit"


def _places(folder: Path) -> Iterator[str]:
    """List the files with the results."""
    kept = sorted((folder / "artefacts").glob("*/seed-*/candidate-*"))
    yield ""
    yield f"row        {folder / 'row.json'}"
    yield f"picture    {folder / 'trajectory.svg'}"
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        yield f"artefacts  {kept[0]}{more}"
        yield "           (open them with canonbench evaluate --model, or canonbench export)"
    else:
        yield "artefacts  none kept"
