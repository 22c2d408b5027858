"""``canonbench senses``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canonbench.cli.options import SUITE_HELP, WholeNumber, config_option, config_settings, option
from canonbench.cli.output import emit, rendered
from canonbench.errors import UsageError

if TYPE_CHECKING:
    from canonbench.board import ShownSense, Word


@click.command(short_help="Show which senses of a Backpack a task's examples choose, and what they say.")
@click.argument("model")
@click.argument("task")
@option("--base", help="The model that was edited, where it is not where MODEL says.")
@option("--suite", help=SUITE_HELP)
@option("--split", metavar="[test|val]", help="Whose canonical examples choose. [default: as the edit's, else val]")
@option("--general", help="General text by name, whose regularisation text counts against senses.")
@option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting of the method senses, such as k=5."
)
@option("--rows", "-n", metavar="N", type=WholeNumber(min=1), default=20, help="The N most important senses.")
@option("--words", metavar="N", type=WholeNumber(min=1), default=5, help="Words of each.")
@option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Also draw them into this file (SVG).")
@option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto.")
@option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True).")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of a table: all senses, whatever --rows says.")
@option("--quiet", "-q", is_flag=True, help="No notes.")
@config_option(with_settings=True)
@click.pass_context
def senses(
    ctx: click.Context,
    /,
    model: str,
    task: str,
    assignments: tuple[str, ...],
    rows: int,
    picture: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Show the senses that TASK's canonical examples choose of MODEL, and the words that each promotes.

    \b
    canonbench senses BACKPACK country --set k=5
    canonbench senses RUN/artefacts/country/seed-0/candidate-3 country --picture senses.svg

    MODEL is a Backpack, or what an edit run kept of one; then the edited senses are shown, before and after. A word
    that begins with _ begins with a space.
    """
    from canonbench.editing import merged, read_assignments
    from canonbench.files import require_output
    from canonbench.network import to_stderr
    from canonbench.runs import sense_words

    if picture is not None:
        if picture.suffix != ".svg":
            raise UsageError(f"--picture {picture}: it will be SVG; let the name end in .svg")
        require_output(picture, "--picture")
    settings = merged(config_settings(ctx), read_assignments(assignments))
    say = (lambda _line: None) if quiet else to_stderr
    found = sense_words(model, task, settings=settings, say=say, **options)
    if picture is not None:
        from canonbench.board import draw_senses

        draw_senses(found[:rows], picture)
        say(f"wrote {picture}")
    emit(_json(found) if as_json else _table(found, rows), encoding="utf-8" if as_json else None)


def _json(found: list[ShownSense]) -> str:
    import json
    from dataclasses import asdict

    return json.dumps([asdict(each) for each in found], ensure_ascii=False) + "\n"


def _table(found: list[ShownSense], rows: int) -> str:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("token", no_wrap=True)
    table.add_column("sense", justify="right", no_wrap=True)
    table.add_column("importance", justify="right", no_wrap=True)
    has_edit = any(each.after is not None for each in found)
    for header in ("before", "after") if has_edit else ("promotes",):
        table.add_column(header)
    for each in found[:rows]:
        importance = "-" if each.importance is None else f"{each.importance:.4g}"
        columns = [_words(each.before)] + ([_words(each.after)] if each.after is not None else [])
        table.add_row(each.token, str(each.sense), importance, *columns)
    rest = f"and {len(found) - rows} more; see --rows" if len(found) > rows else ""
    tokens = len({each.token_id for each in found})
    return rendered(f"{len(found)} senses of {tokens} tokens", "", table, *([rest] if rest else []))


def _words(words: list[Word]) -> str:
    return " ".join(word.text for word in words)
