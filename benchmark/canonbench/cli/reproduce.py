"""``canonbench reproduce``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from canonbench.cli.options import SUITE_HELP, config_option, option, token_budget
from canonbench.cli.output import emit
from canonbench.cli.submit import ROOT_HELP

if TYPE_CHECKING:
    from canonbench.submissions import Reproduction


@click.command(short_help="Run again what a row of the leaderboard says was run.")
@click.argument("wanted", metavar="ROW")
@option("--write", is_flag=True, help="If they agree, put the repetition on the leaderboard in the row's place.")
@option(
    "--tolerance", metavar="POINTS", type=float, default=1.0, help="Of average success; of a task's, five times it."
)
@option("--model", "-m", help="The base, where the row's name for it does not lead to it.")
@option("--suite", help=SUITE_HELP.split(". [")[0] + ". [default: as the row says]")
@option("--run", type=click.Path(path_type=Path), help="Run folder. [default: canonbench-runs/reproduce-ROW]")
@option("--root", type=click.Path(path_type=Path), help=ROOT_HELP)
@option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto.")
@option("--batch-tokens", metavar="N", default="auto", callback=token_budget, help="Tokens per forward pass, or auto.")
@option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True).")
@option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the checkpoint.")
@option("--quiet", "-q", is_flag=True, help="No notes, no progress, no table.")
@config_option()
@click.pass_context
def reproduce(
    ctx: click.Context, /, wanted: str, batch_tokens: Literal["auto"] | int, quiet: bool, **options: Any
) -> None:
    """Run again what ROW says was run, and compare: its id (the beginning is enough), or its place, NAME.jsonl:1.

    \b
    canonbench reproduce step.jsonl:1
    canonbench reproduce 3f9a --model models/smollm2 --write

    Method, base, data, hyperparameters, seeds and leagues are the row's; the base and the data must have its hashes.
    Exit code 1 if the numbers are further apart than the tolerance. With --write the repetition becomes a row of state
    reproduced, and the row that it repeats is flagged superseded. Killed at any point, the same command continues.
    """
    from canonbench.runs import Progress, terminal_progress
    from canonbench.submissions import reproduce as run_again

    options["batch_tokens"] = None if batch_tokens == "auto" else batch_tokens
    with nullcontext(Progress()) if quiet else terminal_progress() as progress:
        done = run_again(wanted, progress=progress, **options)
    if not quiet:
        emit(_drawn(done))
    if not done.agrees:
        ctx.exit(1)


def _drawn(done: Reproduction) -> str:
    """Format the comparison number by number, and the verdict."""
    from rich.table import Table

    from canonbench.cli.output import rendered

    table = Table(box=None, header_style="", pad_edge=False)
    for name in ("", "row", "again", "difference", "may be", ""):
        table.add_column(name, justify="left" if not name else "right")
    for each in done.compared:
        verdict = "" if each.agrees else "TOO FAR"
        numbers = (f"{each.said:.4f}", f"{each.found:.4f}", f"{each.found - each.said:+.4f}", f"{each.tolerance:g}")
        table.add_row(each.where, *numbers, verdict)
    place = done.placed.place
    lines = [f"{place} is {'reproduced' if done.agrees else 'NOT reproduced'}"]
    if done.changed is not None:
        lines += [f"wrote {name}" for name in done.changed.written]
        lines.append(f"row {done.again.row_id} stands in its place")
    return rendered(table, *lines)
