"""``canonbench tasks``: show a suite's tasks and examples."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from canonbench.cli.options import SUITE_HELP, Verbs, WholeNumber, option
from canonbench.cli.output import emit, rendered

if TYPE_CHECKING:
    from canonbench.suite import Part, Split, Suite


PARTS: tuple[Part, ...] = ("canonical", "evaluation", "hard_negatives")


@click.group(cls=Verbs, invoke_without_command=True, short_help="List the tasks; show examples of one.")
@option("--suite", help=SUITE_HELP)
@click.pass_context
def tasks(ctx: click.Context, suite: str | None) -> None:
    """List a suite's tasks: the loss, when an example counts as a success, and the numbers of rows."""
    if ctx.invoked_subcommand is None:
        emit(_listing(_load(suite), f" --suite {shlex.quote(suite)}" if suite else ""))


@tasks.command()
@click.argument("name")
@click.option("-n", "count", metavar="N", type=WholeNumber(min=1), default=3, show_default=True, help="Rows per part.")
@click.option("--suite", help=SUITE_HELP)  # the group's --suite, given before "show", reads the environment
@option("--split", metavar="[val|test]", default="val", help="Which split to show.")
@click.pass_context
def show(ctx: click.Context, name: str, count: int, suite: str | None, split: str) -> None:
    """Show the first examples of a task: canonical, evaluation, hard negatives."""
    assert ctx.parent is not None
    chosen = _load(suite or ctx.parent.params["suite"])
    task = chosen.task(name)
    own = task.split(split)
    asked = task.task
    lines = [
        f"{name} ({chosen.name}, {split}): success is {asked.success or 'loss <= threshold'} "
        f"[{asked.loss} <= {asked.threshold:.4f} nats]"
    ]
    for part in PARTS:
        table = getattr(own, part)
        lines += ["", f"{part.replace('_', ' ')} ({len(table)} rows, {own.path(part).name})"]
        for row in table.select(range(min(count, len(table)))):
            answers = [row["suffix_a"]] + ([row["suffix_b"]] if row["suffix_b"] is not None else [])
            flagged = "" if row["clean"] else "   (flagged)"
            lines += [f"  {row['prefix']!r}", f"    -> {' / '.join(map(repr, answers))}{flagged}"]
    emit("\n".join(lines) + "\n")


def _load(name: str | None) -> Suite:
    from canonbench.suite import Suite, default_name

    return Suite.load(name or default_name())


def _listing(suite: Suite, chosen_by: str) -> str:
    from rich.table import Table

    asked, rows = (Table(box=None, pad_edge=False) for _ in range(2))
    for header in ("task", "loss", "threshold", "success is"):
        asked.add_column(header, justify="right" if header == "threshold" else "left", no_wrap=header != "success is")
    rows.add_column("rows")
    for header in ("val: T", "E", "H", "test: T", "E", "H"):
        rows.add_column(header, justify="right", no_wrap=True)
    for name, task in suite.tasks.items():
        asked.add_row(name, task.task.loss, f"{task.task.threshold:.4f}", task.task.success or "loss <= threshold")
        rows.add_row(name, *(count for split in ("val", "test") for count in _counts(task.splits.get(split))))
    key = "T canonical, E evaluation, H hard negatives; thresholds in nats."
    example = f"Examples: canonbench tasks show {next(iter(suite.tasks))}{chosen_by}"
    return rendered(f"suite {suite.name} {suite.spec.version}\n", asked, "", rows, "", key, example)


def _counts(split: Split | None) -> list[str]:
    return [str(len(getattr(split, part))) if split else "-" for part in PARTS]
