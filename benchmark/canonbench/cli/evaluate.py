"""``canonbench evaluate``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from canonbench.cli.options import config_option, option, passed


@click.command(short_help="Score a checkpoint; with --base, say what the edit bought.")
@option("--model", "-m", required=True, help="Folder, hub id (id@revision), PEFT adapter folder, .gguf file, or demo.")
@option("--base", help="The unedited model. A PEFT adapter names its own.")
@option("--task", "-t", default="all", help="Task names separated by commas, or all.")
@option("--suite", help="mini, published, or a folder with a suite.yaml. [default: published if at hand, else mini]")
@option("--split", type=click.Choice(["test", "val"]), default="test", help="Which split to score.")
@option("--general", help="General text for the leagues, by name, or none. [default: the suite's first at hand]")
@option("--limit", type=click.IntRange(min=1), help="Only the first N rows of every file (a quick look, not a result).")
@option("--protocol", default="canonbench-1", help="canonbench-1, hewitt2024, or a YAML file.")
@option("--run", type=click.Path(path_type=Path), help="Run folder. [default: one under canonbench-runs/]")
@option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Also write the row to this file.")
@option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto.")
@option("--dtype", default="auto", help="float32, bfloat16, float16, float64, or auto (by PROTOCOL section 1).")
@option("--batch-tokens", default="auto", help="Tokens that go through the model at once, or auto.")
@option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the bootstrap.")
@option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True).")
@option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the checkpoint.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@option("--json", "as_json", is_flag=True, envvar="CANONBENCH_JSON", help="Print the row as JSON on standard output.")
@config_option()
@click.pass_context
def evaluate(
    ctx: click.Context, /, batch_tokens: str, run: Path | None, quiet: bool, as_json: bool, task: str, **options: Any
) -> None:
    """Score a checkpoint on a suite and report one standard row.

    \b
    canonbench evaluate --model demo
    canonbench evaluate --model my-edited-model --base gpt2 --task country,company --output row.json

    Killed at any point, the same command continues where it was. The run folder holds row.json, every example's
    log-probabilities (examples.parquet) and all that is needed to repeat the run (run.yaml).
    """
    given = passed(ctx)
    from canonbench.cli.report import print_row  # noqa: PLC0415  (torch and friends: not for --help)
    from canonbench.runs.evaluate import evaluate as run_evaluation  # noqa: PLC0415
    from canonbench.runs.progress import Progress, terminal_progress  # noqa: PLC0415

    with nullcontext(Progress()) if quiet else terminal_progress() as progress:
        row = run_evaluation(
            options.pop("model"),
            tasks=task,
            batch_tokens=_batch_tokens(batch_tokens),
            run=run or "auto",
            progress=progress,
            passed=given,
            **options,
        )
    if as_json:
        sys.stdout.write(row.to_json())
    elif not quiet:
        print_row(row)


def _batch_tokens(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter("must be 'auto' or a number of tokens, at least 1", param_hint="--batch-tokens")
    return int(text)
