"""``canonbench tasks``: what is asked."""

from __future__ import annotations

import sys
from typing import Any

import click

from canonbench.cli.options import option

SUITE_HELP = "mini, published, or a folder with a suite.yaml. [default: published if at hand, else mini]"


@click.group(invoke_without_command=True, short_help="List the tasks; show examples of one.")
@option("--suite", help=SUITE_HELP)
@click.pass_context
def tasks(ctx: click.Context, suite: str | None) -> None:
    """List a suite's tasks: the loss, when an example counts as a success, and the numbers of rows."""
    if ctx.invoked_subcommand is None:
        _list(_load(suite))


@tasks.command()
@click.argument("name")
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Examples of each part.")
@option("--suite", help=SUITE_HELP)
@option("--split", type=click.Choice(["val", "test"]), default="val", help="Which split to show.")
def show(name: str, count: int, suite: str | None, split: str) -> None:
    """Show the first examples of a task: canonical, evaluation, hard negatives."""
    chosen = _load(suite)
    task = chosen.task(name)
    own = task.split(split)
    click.echo(f"{name} ({chosen.name}, {split}): success is {task.task.success or 'loss <= threshold'} "
               f"[{task.task.loss} <= {task.task.threshold:.4f} nats]")  # fmt: skip
    for part in ("canonical", "evaluation", "hard_negatives"):
        table = getattr(own, part)
        click.echo(f"\n{part.replace('_', ' ')} ({len(table)} rows, {own.path(part).name})")
        for row in table.select(range(min(count, len(table)))):
            click.echo(f"  {row['prefix']!r}")
            answers = [row["suffix_a"]] + ([row["suffix_b"]] if row["suffix_b"] is not None else [])
            click.echo(f"    -> {' / '.join(map(repr, answers))}" + ("" if row["clean"] else "   (flagged)"))


def _load(suite: str | None) -> Any:
    from canonbench.suite import Suite  # noqa: PLC0415
    from canonbench.suite.load import default_name  # noqa: PLC0415

    return Suite.load(suite or default_name())


def _list(suite: Any) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"suite {suite.name} {suite.spec.version}", title_justify="left", box=None, pad_edge=False)
    for name in ("task", "loss", "threshold", "success is"):
        table.add_column(name, justify="right" if name == "threshold" else "left")
    for split in ("val", "test"):
        table.add_column(f"{split}: T/E/H", justify="right")
    for name, task in suite.tasks.items():
        counts = [_counts(task.splits[split]) if split in task.splits else "-" for split in ("val", "test")]
        table.add_row(name, task.task.loss, f"{task.task.threshold:.4f}", task.task.success, *counts)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    click.echo(
        "T canonical, E evaluation, H hard negatives; thresholds in nats. Examples: canonbench tasks show country"
    )


def _counts(split: Any) -> str:
    return f"{len(split.canonical)}/{len(split.evaluation)}/{len(split.hard_negatives)}"
