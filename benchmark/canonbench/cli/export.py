"""``canonbench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from canonbench.cli.options import config_option, option
from canonbench.cli.output import emit


@click.command(short_help="Write what an edit run kept as a full checkpoint.")
@click.argument("artefact")
@option("--to", required=True, type=click.Path(path_type=Path), help="A new or empty folder.")
@option("--base", help="The model that was edited, where it is not where ARTEFACT says.")
@option("--device", default="auto", help="Where an adapter is merged: cpu, cuda, cuda:1, ... or auto.")
@option("--allow-pickle", is_flag=True, help="Read pickled weights too (with weights_only=True).")
@option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the base.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@config_option()
def export(artefact: str, to: Path, quiet: bool, **options: Any) -> None:
    """Write ARTEFACT, a folder that an edit run kept or any PEFT adapter, as a full checkpoint.

    \b
    canonbench export RUN/artefacts/country/seed-0/candidate-3 --to country-model

    The folder then holds configuration, safetensors and tokenizer: plain transformers loads it with from_pretrained,
    and it scores as the artefact does.
    """
    from canonbench.network import to_stderr
    from canonbench.runs import export as write_checkpoint

    write_checkpoint(artefact, to, say=(lambda _line: None) if quiet else to_stderr, **options)
    if not quiet:
        emit(f"{to}\n")
