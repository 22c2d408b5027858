"""``canonbench report``."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import WholeNumber, config_option, option
from canonbench.cli.output import emit


@click.command(short_help="A finished run as one web page: numbers, plots, rows that changed sides.")
@click.argument("run", metavar="ROW_OR_RUN", type=click.Path(path_type=Path))
@option("--out", "-o", metavar="FILE", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The page.")
@option("--league", help="Of an edit run: whose models to show. [default: the tightest in which anything was edited]")
@option("--suite", metavar="FOLDER", help="Where the texts come from, if the suite is your own.")
@option(
    "--flips", "-n", metavar="N", type=WholeNumber(min=0), default=10, help="Rows fixed, and rows broken, per task."
)
@config_option()
def report(run: Path, out: Path, league: str | None, suite: str | None, flips: int) -> None:
    """Write a finished run as one HTML page, which needs no other file and no network.

    \b
    canonbench report runs/lora --out lora.html
    canonbench report runs/lora --out lora.html --league 1e-4 -n 30

    Of an edit run it shows every candidate's way through the leagues. The published suite's texts stay out of it.
    """
    from canonbench.board import write_report

    write_report(run, out, league=league, suite=suite, n_flips=flips)
    emit(f"{out}\n")
