"""``canonbench evaluate``."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import click

from canonbench.cli.options import (
    compute_options,
    config_option,
    data_options,
    option,
    passed,
    place_options,
    print_options,
)
from canonbench.cli.output import emit

COSTLESS = ("output", "states_budget")
"""Options that do not affect the output of --dry-run."""


@click.command(short_help="Score a checkpoint; with --base, say what the edit bought.")
@option(
    "--model",
    "-m",
    required=True,
    help="Folder, hub id (id@revision), PEFT adapter, edit run's artefact, .gguf file, demo, demo-backpack, demo-gpt2, "
    "or ensemble:LARGE,SMALL_EDIT[,beta=NUMBER|auto].",
)
@option("--base", help="The unedited model, in an ensemble the small one. Adapters and artefacts name it.")
@data_options("test", "Which split to score.")
@place_options()
@compute_options()
@option("--dry-run", is_flag=True, help="Check everything and print the cost: tokens, FLOPs, memory. Score nothing.")
@print_options()
@config_option()
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    batch_tokens: Literal["auto"] | int,
    run: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    task: str,
    **options: Any,
) -> None:
    """Score a checkpoint on a suite and report one standard row.

    \b
    canonbench evaluate --model demo
    canonbench evaluate --model EDITED --base gpt2 --task country,company

    Killed at any point, the same command continues where it was. The run folder holds row.json, every example's
    log-probabilities (examples.parquet) and all that is needed to repeat the run (run.yaml).

    Every option can also be set by an environment variable (CANONBENCH_BATCH_TOKENS for --batch-tokens) or in the
    --config file; the command line comes first, then the environment, then the file.
    """
    from canonbench.cli.tables import draw_costs, draw_row
    from canonbench.runs import Progress, cost, terminal_progress
    from canonbench.runs import evaluate as run_evaluation

    options |= {"tasks": task, "batch_tokens": None if batch_tokens == "auto" else batch_tokens}
    with nullcontext(Progress()) if quiet else terminal_progress() as progress:
        if dry_run:
            costs = cost(**{name: value for name, value in options.items() if name not in COSTLESS}, progress=progress)
            content = json.dumps({name: each._asdict() for name, each in costs.items()}) + "\n"
            table = draw_costs(costs)
        else:
            row = run_evaluation(**options, run=run or "auto", progress=progress, passed=passed(ctx))
            content, table = row.to_json(), draw_row(row)
    if as_json:
        emit(content, encoding="utf-8")
    elif not quiet:
        emit(table)
