"""``canonbench merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from canonbench.cli.options import Seed, WholeNumber, config_option, option
from canonbench.cli.output import emit


@click.command(short_help="Merge one edit per task into one model, for the joint track.")
@click.argument("edits", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--how", metavar="[mean|union|ties|dare]", help="See below. [default: mean; of senses union]")
@option("--out", "-o", metavar="ARTEFACT", required=True, type=click.Path(path_type=Path), help="A new folder.")
@option("--league", help="Whose candidates to take from the runs. [default: 1e-3]")
@option(
    "--edit-seed",
    metavar="N",
    type=Seed(),
    help="Whose, where a run has several seeds per task. [default: 0]",
)
@option(
    "--density",
    metavar="SHARE",
    type=float,
    help="Share of each edit's changes that ties and dare keep. [default: 0.2]",
)
@option("--rank", metavar="N", type=WholeNumber(min=1), help="Of a merged adapter. [default: the sum of the ranks]")
@option("--seed", metavar="N", type=Seed(), help="Of what dare drops. [default: 0]")
@option("--base", help="The model that was edited, where it is not where the edits say.")
@option("--allow-pickle", is_flag=True, help="Read a pickled base too (with weights_only=True).")
@option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the base.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@config_option()
def merge(edits: tuple[Path, ...], out: Path, quiet: bool, **options: Any) -> None:
    """Merge the edits of different tasks into one model, an artefact that canonbench evaluate opens.

    \b
    canonbench merge runs/lora --out joint-lora
    canonbench merge runs/country runs/gender runs/verb --how ties --density 0.3 --out joint
    canonbench evaluate --model joint --task all --split val

    A RUN is an edit run of one or several tasks, of which it takes the candidates that the league chose, or an artefact
    that such a run kept; one edit per task, all of one base and of one kind. How changes are merged:

    \b
    mean    their average: of whole tensors over all edits, of adapters over those that touch a weight
    ties    each edit's largest changes; of these, those with the sign that has more weight are averaged
    dare    random changes of each edit, scaled up accordingly, averaged
    union   for senses: all of them; only those that several edits changed are averaged
    """
    from canonbench.network import to_stderr
    from canonbench.runs import merge_edits

    record = merge_edits(edits, out, say=(lambda _line: None) if quiet else to_stderr, **options)
    if not quiet:
        tasks = ", ".join(edit.task for edit in record.edits)
        emit(f"{out}\n{record.how} of {len(record.edits)} edits: {tasks}\n")
