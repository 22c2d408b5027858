"""``canonbench convert-backpack``."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import config_option, option
from canonbench.cli.output import emit


@click.command(short_help="Make a safetensors folder of a published Backpack.")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@option("--tokenizer", help="Folder or hub id of its tokenizer, GPT-2's. [default: the one in SRC]")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@config_option()
def convert_backpack(source: str, target: Path, tokenizer: str | None, quiet: bool) -> None:
    """Turn SRC, the published files of a Backpack (a folder or hub id), into DST, a folder that --model takes.

    \b
    canonbench convert-backpack stanfordnlp/backpack-gpt2 backpack --tokenizer openai-community/gpt2
    canonbench evaluate --model backpack

    The pickle is read with weights_only=True, code that comes with it is never run, and every tensor is accounted for.
    """
    from canonbench.models import PUBLISHED_PARAMETERS, convert_backpack
    from canonbench.network import to_stderr

    parameters = convert_backpack(source, target, tokenizer=tokenizer, say=(lambda _line: None) if quiet else to_stderr)
    if not quiet:
        same = parameters == PUBLISHED_PARAMETERS
        remark = "as published" if same else f"the published one has {PUBLISHED_PARAMETERS:,}"
        emit(f"{target}\n{parameters:,} parameters, {remark}\n")
