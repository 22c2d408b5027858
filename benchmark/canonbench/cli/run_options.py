"""The options that every verb which scores models has: which data, where the results go, how to run, what to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from canonbench.cli.options import SUITE_HELP, WholeNumber, option, token_budget

Decorator = Callable[[Any], Any]


def data_options(split: str, split_help: str) -> Decorator:
    """Which rows are asked, and by which rules; ``split`` is the default one."""
    return _together(
        option("--task", "-t", default="all", help="Task names separated by commas, or all."),
        option("--suite", help=SUITE_HELP),
        option("--split", metavar="[test|val]", default=split, help=split_help),
        option(
            "--general", help="General text for the leagues, by name, or none. [default: the suite's first at hand]"
        ),
        option(
            "--limit",
            metavar="N",
            type=WholeNumber(min=1),
            help="Only the first N rows of every file (a quick look, not a result).",
        ),
        option("--protocol", default="canonbench-1", help="canonbench-1, hewitt2024, or a YAML file."),
    )


def place_options() -> Decorator:
    """Where the results go."""
    return _together(
        option("--run", type=click.Path(path_type=Path), help="Run folder. [default: one under canonbench-runs/]"),
        option(
            "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Also write the row to this file."
        ),
    )


def compute_options() -> Decorator:
    """How the models are read and run."""
    return _together(
        option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto."),
        option(
            "--dtype",
            default="auto",
            help="float32, bfloat16, float16, float64, or auto (docs/reference/protocol.md#1-log-likelihood).",
        ),
        option(
            "--batch-tokens",
            metavar="N",
            default="auto",
            callback=token_budget,
            help="Tokens per forward pass, or auto.",
        ),
        option(
            "--states-budget",
            metavar="GIB",
            type=float,
            default=4.0,
            help="Disk in the cache for hidden states, from which edited models resume (same scores, sooner); 0 = off.",
        ),
        option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True)."),
        option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the checkpoint."),
    )


def print_options() -> Decorator:
    """What is printed."""
    return _together(
        option("--quiet", "-q", is_flag=True, help="No notes, no progress, no table."),
        option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    )


def _together(*options: Decorator) -> Decorator:
    """Several decorators as one; the help lists them in this order."""

    def decorate(command: Any) -> Any:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate
