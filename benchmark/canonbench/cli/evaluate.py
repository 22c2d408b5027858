"""``canonbench evaluate``."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import click

from canonbench.cli.options import SUITE_HELP, WholeNumber, config_option, option, passed, token_budget
from canonbench.cli.output import emit

COSTLESS = ("output", "seed", "states_budget")
"""Options that do not bear on what --dry-run prints."""


@click.command(short_help="Score a checkpoint; with --base, say what the edit bought.")
@option("--model", "-m", required=True, help="Folder, hub id (id@revision), PEFT adapter folder, .gguf file, or demo.")
@option("--base", help="The unedited model. A PEFT adapter names its own.")
@option("--task", "-t", default="all", help="Task names separated by commas, or all.")
@option("--suite", help=SUITE_HELP)
@option("--split", metavar="[test|val]", default="test", help="Which split to score.")
@option("--general", help="General text for the leagues, by name, or none. [default: the suite's first at hand]")
@option(
    "--limit",
    metavar="N",
    type=WholeNumber(min=1),
    help="Only the first N rows of every file (a quick look, not a result).",
)
@option("--protocol", default="canonbench-1", help="canonbench-1, hewitt2024, or a YAML file.")
@option("--run", type=click.Path(path_type=Path), help="Run folder. [default: one under canonbench-runs/]")
@option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Also write the row to this file.")
@option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto.")
@option("--dtype", default="auto", help="float32, bfloat16, float16, float64, or auto (by PROTOCOL section 1).")
@option("--batch-tokens", metavar="N", default="auto", callback=token_budget, help="Tokens per forward pass, or auto.")
@option("--seed", metavar="N", type=WholeNumber(min=0), default=0, help="Seed of the bootstrap.")
@option(
    "--states-budget",
    metavar="GB",
    type=float,
    default=4.0,
    help="Disk in the cache for hidden states, from which edited models resume (same scores, sooner); 0 = off.",
)
@option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True).")
@option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the checkpoint.")
@option("--dry-run", is_flag=True, help="Check everything and print the cost: tokens, FLOPs, memory. Score nothing.")
@option("--quiet", "-q", is_flag=True, help="No notes, no progress, no table.")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
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
    from canonbench.cli.report import draw_costs, draw_row  # noqa: PLC0415  (torch and friends: not for --help)
    from canonbench.runs.cost import cost  # noqa: PLC0415
    from canonbench.runs.evaluate import evaluate as run_evaluation  # noqa: PLC0415
    from canonbench.runs.progress import Progress, terminal_progress  # noqa: PLC0415

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
