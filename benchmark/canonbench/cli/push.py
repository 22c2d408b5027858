"""``canonbench push``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from canonbench.cli.options import config_option, option
from canonbench.cli.output import emit
from canonbench.errors import CanonbenchError, UsageError

if TYPE_CHECKING:
    from canonbench.submissions import Parcel, Pushed


@click.command(short_help="Send a run or rows to a data set on the Hugging Face hub.")
@click.argument("path", metavar="RUN_OR_ROWS", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@option("--as", "name", metavar="NAME", help="What to call it there. [default: as it is called here]")
@option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing; needs no network.")
@option("--card", metavar="OWNER/MODEL", help="Add a run's results to the card of this model too.")
@option("--public", is_flag=True, help="If the data set must be made: for everybody. [default: for you]")
@option("--replace", is_flag=True, help="Put it in the place of what has that name there.")
@option("--anyway", is_flag=True, help="Send it though it holds what looks like a secret or a path on this machine.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@config_option()
def push(
    path: Path,
    repo: str,
    name: str | None,
    dry_run: bool,
    card: str | None,
    public: bool,
    replace: bool,
    anyway: bool,
    quiet: bool,
) -> None:
    """Send a finished run, a .jsonl file of rows or a folder of such files to a data set on the Hugging Face hub.

    \b
    canonbench push runs/lora me/my-runs --dry-run
    canonbench push runs/lora me/my-runs --card me/my-edited-model
    canonbench push leaderboard/rows me/board --public

    A run goes to runs/NAME, its scores and text of the run included, weights not; rows go to rows/NAME.jsonl. They are
    checked first, and nothing that is there already is replaced unless you say so. Log in with 'hf auth login'.
    """
    from canonbench.network import to_stderr
    from canonbench.submissions import pack, private_findings, push_card
    from canonbench.submissions import push as send

    parcel = pack(path, name)
    if card is not None and parcel.row is None:
        raise UsageError("--card takes the results of a run, and these are rows")
    findings = list(private_findings(parcel))
    if dry_run:
        emit(_plan(parcel, repo, card, findings), encoding="utf-8")
        return
    if findings and not anyway:
        more = f" (and {len(findings) - 1} more, see --dry-run)" if len(findings) > 1 else ""
        raise CanonbenchError(f"{findings[0]}{more}; change it, or send it --anyway")
    say = (lambda _line: None) if quiet else to_stderr
    lines = _outcome(parcel, repo, send(parcel, repo, public=public, replace=replace, say=say))
    if card is not None and parcel.row is not None:
        lines.append(push_card(parcel.row, card, say=say))
    if not quiet:
        emit("\n".join(lines) + "\n")


def _outcome(parcel: Parcel, repo: str, pushed: Pushed) -> list[str]:
    """Format what was sent, its URL, and how a row may refer to it."""
    from canonbench.submissions import examples_on_hub

    lines = [f"sent {place}" for place in pushed.sent] + [f"removed {place}" for place in pushed.removed]
    lines = [*(lines or ["nothing to send, all of it is there already"]), pushed.address]
    examples = examples_on_hub(parcel, repo, pushed.commit)
    return lines if examples is None else [*lines, f"for a row's examples: {examples.model_dump_json()}"]


def _plan(parcel: Parcel, repo: str, card: str | None, findings: list[str]) -> str:
    """Format what would be sent, and what should be reviewed before."""
    from canonbench.submissions import front_matter

    width = max(map(len, parcel.files))
    lines = [f"to data set {repo} (nothing is sent, this is a dry run):"]
    lines += [f"  {place:<{width}}  {path.stat().st_size:>11,} bytes" for place, path in parcel.files.items()]
    if findings:
        lines += [
            "not for others to read, so it would be refused without --anyway:",
            *(f"  {each}" for each in findings),
        ]
    if card is not None and parcel.row is not None:
        lines += [
            f"to the head of the card of model {card}:",
            front_matter(parcel.row, card.rpartition("/")[2]).rstrip(),
        ]
    return "\n".join(lines) + "\n"
