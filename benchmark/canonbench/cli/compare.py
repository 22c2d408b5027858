"""``canonbench compare``."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import SUITE_HELP, WholeNumber, config_option, option
from canonbench.cli.output import emit


@click.command(short_help="Say where two finished runs differ, and on which rows.")
@click.argument("first", metavar="ROW_OR_RUN", type=click.Path(path_type=Path))
@click.argument("second", metavar="ROW_OR_RUN", type=click.Path(path_type=Path))
@option("--league", help="Of edit runs: whose models to compare. [default: the tightest in which either was edited]")
@option("--task", "-t", "tasks", default="all", help="Task names separated by commas, or all that both have.")
@option("--suite", help="Where the texts come from: " + SUITE_HELP.split(". [")[0] + ". [default: as the rows say]")
@option("--flips", "-n", metavar="N", type=WholeNumber(min=0), default=20, help="Rows that changed sides, per task.")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@config_option()
def compare(
    first: Path,
    second: Path,
    league: str | None,
    tasks: str,
    suite: str | None,
    flips: int,
    as_json: bool,
) -> None:
    """Compare two finished runs, row by row: two run folders, or their row.json with examples.parquet beside it.

    \b
    canonbench compare runs/lora runs/full --league 1e-3
    canonbench compare runs/base runs/edited --task country -n 5

    Both must be of one comparable group: same data, split, protocol and general text. Differences are second − first,
    with 95 % paired intervals; McNemar's test is exact and two-sided.
    """
    from canonbench.cli.compare_tables import draw_comparison
    from canonbench.runs import compare as compare_runs

    report = compare_runs(first, second, tasks=tasks, league=league, suite=suite, flips=flips)
    if as_json:
        emit(report.to_json(), encoding="utf-8")
    else:
        emit(draw_comparison(report))
