"""``canonbench submit`` and ``canonbench validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from canonbench.cli.options import config_option, option
from canonbench.cli.output import emit
from canonbench.errors import UsageError

ROOT_HELP = "The checkout of the leaderboard. [default: the one that holds the working folder]"


@click.command(short_help="Put a finished run on the leaderboard of this checkout.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--name", required=True, help="Of the submission: a folder under submissions/, new or not.")
@option("--replace", is_flag=True, help="Put the row in the place of one of the same base in the same group.")
@option("--undo", is_flag=True, help="Take out what the same command without --undo put in.")
@option("--code", metavar="FILE.py[:FUNCTION]", help="The method's code, if not where the run found it.")
@option("--model-name", metavar="NAME", help="What to call the base, such as its hub id. [default: as in the run]")
@option("--examples-at", metavar="hf://...", help="The run's examples.parquet on the hub, if too large for here.")
@option("--root", type=click.Path(path_type=Path), help=ROOT_HELP)
@config_option()
def submit(
    runs: tuple[Path, ...],
    name: str,
    replace: bool,
    undo: bool,
    code: str | None,
    model_name: str | None,
    examples_at: str | None,
    root: Path | None,
) -> None:
    """Put RUN, a finished run, on the leaderboard of this checkout and print the text of a pull request.

    Several runs of one method on different tasks become one row.

    \b
    canonbench submit canonbench-runs/step-demo-mini-val-0a1b2c3d --name step
    canonbench validate submissions/step

    It writes submissions/NAME with the method's code, the run's per-example values and a submission.yaml to complete,
    and adds the row to leaderboard/rows/NAME.jsonl. Everything is checked before anything is written. The row's numbers
    are those that follow from the per-example values. Nothing is sent anywhere.
    """
    from canonbench.cli.submit_tables import draw_submitted, draw_withdrawn
    from canonbench.submissions import submit as submit_run
    from canonbench.submissions import withdraw

    if undo and replace:
        raise UsageError("--undo and --replace contradict each other")
    options: dict[str, Any] = {"root": root, "code": code, "model_name": model_name, "examples_at": examples_at}
    if undo:
        emit(draw_withdrawn(withdraw(runs, name, **options)))
    else:
        emit(draw_submitted(submit_run(runs, name, replace=replace, **options), runs, options))


@click.command(short_help="Check the leaderboard's rows and submissions; exit code 1 if anything is wrong.")
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@option("--fetch", is_flag=True, help="Also fetch and check per-example values that are on the hub.")
@config_option()
@click.pass_context
def validate(ctx: click.Context, path: Path | None, fetch: bool) -> None:
    """Check every row and every submission of a checkout, or of one folder under its submissions.

    \b
    canonbench validate                        the checkout that holds the working folder
    canonbench validate submissions/step       one submission and its rows

    One line per finding: schemas, hashes, numbers that do not follow from the per-example values, impossible
    probabilities, rows that are not those of the suite, partial rows, code that cannot be imported, secrets, absolute
    paths, texts still to be written. It imports the submitted code.
    """
    from canonbench.submissions import validate as validate_board

    findings = validate_board(path, fetch=fetch)
    wrong = [each for each in findings if each.level != "note"]
    for each in findings:
        emit(f"{'note: ' if each.level == 'note' else ''}{each}\n", encoding="utf-8")
    emit(f"{len(wrong)} to put right\n" if wrong else "valid\n")
    if wrong:
        ctx.exit(1)
