"""``canonbench edit``."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import click

from canonbench.cli.options import (
    WholeNumber,
    compute_options,
    config_option,
    config_settings,
    data_options,
    option,
    passed,
    place_options,
    print_options,
)
from canonbench.cli.output import emit

METHOD = "canonbench.method"
"""Key under which a click context stores the method named on the command line, for --help."""


class EditCommand(click.Command):
    """A command whose help ends with the settings of the method given with --help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments as click does; --method is found before or after --help."""
        ctx.meta[METHOD] = self.make_parser(ctx).parse_args(args=list(args))[0].get("method")
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the settings in the way click lists options."""
        if ctx.meta[METHOD] is None:
            return
        from canonbench.cli.methods import NO_SETTINGS, settings_of, summary, with_default
        from canonbench.editing import find_method

        method = find_method(ctx.meta[METHOD])
        settings = [(each.name, with_default(each)) for each in settings_of(method)]
        with formatter.section(f"Settings of {method.name}, for --set NAME=VALUE"):
            formatter.write_text(summary(method))
            if settings:
                formatter.write_dl(settings)
            else:
                formatter.write_text(NO_SETTINGS)


def _leagues(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Callback of --leagues: parse labels such as 1e-3, each a positive number."""
    if value is None:
        return None
    labels = [label.strip() for label in value.split(",")]
    for label in labels:
        try:
            positive = 0 < float(label) < math.inf
        except ValueError:
            positive = False
        if not positive:
            raise click.BadParameter(f"{label!r} is not a positive number, such as 1e-3", ctx, parameter)
    return labels


@click.command(cls=EditCommand, short_help="Run an editing method; say, per league, what it buys.")
@option(
    "--method",
    required=True,
    help="A built-in method (see canonbench methods), method.py:edit, package.module:function, or a folder.",
)
@option(
    "--model",
    "-m",
    required=True,
    help="The model to edit: folder, hub id (id@revision), .gguf file, demo, demo-backpack, or demo-gpt2.",
)
@data_options("val", "val chooses among all candidates; test repeats what val chose (--chosen).")
@option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting of the method; may be given often."
)
@option(
    "--leagues",
    metavar="ε,...",
    callback=_leagues,
    help="How much the general loss may rise. [default: the protocol's leagues]",
)
@option(
    "--seeds",
    metavar="N",
    type=WholeNumber(1, 10_000),
    help="Repetitions, each with a seed. [default: 1 on val, 5 on test]",
)
@option("--keep", metavar="[best|all|none]", default="best", help="Which candidates stay in the run folder.")
@option("--chosen", metavar="RUN|ROW", help="The finished val run whose settings and candidates a test run takes.")
@place_options()
@compute_options()
@print_options()
@config_option(with_settings=True)
@click.pass_context
def edit(
    ctx: click.Context,
    /,
    batch_tokens: Literal["auto"] | int,
    run: Path | None,
    quiet: bool,
    as_json: bool,
    task: str,
    assignments: tuple[str, ...],
    **options: Any,
) -> None:
    """Run an editing method on every task and report, per league, what it buys.

    \b
    canonbench edit --method lora --model demo --task country,gender --set lr=1e-3 --set rank=8
    canonbench edit --method lora --model demo --split test --chosen canonbench-runs/VAL-RUN
    canonbench edit --method lora --help            the settings of a method

    The method trains on a task's canonical examples only. Each candidate that it yields (say, after every epoch) is
    measured: first on general text, which tells the leagues it is in, then on the task. Killed at any point, the same
    command continues. The run folder holds row.json, every candidate's numbers (candidates.jsonl) and their picture
    (trajectory.svg), the artefacts that were kept, which canonbench evaluate and export open, and run.yaml.

    Every option can also be set by an environment variable (CANONBENCH_BATCH_TOKENS for --batch-tokens) or in the
    --config file; the command line comes first, then the environment, then the file.
    """
    from canonbench.cli.edit_tables import draw_edit
    from canonbench.editing import merged, read_assignments
    from canonbench.runs import Progress, terminal_progress
    from canonbench.runs import edit as run_edit

    settings = merged(config_settings(ctx), read_assignments(assignments))
    given = {name: value for name, value in passed(ctx).items() if name != "set"}
    options |= {"tasks": task, "batch_tokens": None if batch_tokens == "auto" else batch_tokens}
    with nullcontext(Progress()) if quiet else terminal_progress() as progress:
        row = run_edit(
            **options,
            settings=settings,
            run=run or "auto",
            progress=progress,
            passed=given | ({"set": settings} if settings else {}),
        )
    if as_json:
        emit(row.to_json(), encoding="utf-8")
    elif not quiet:
        emit(draw_edit(row, progress.folder))
