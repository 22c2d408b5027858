"""``canonbench leaderboard``: build the board's pages from the rows, check that they agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canonbench.cli.options import Verbs, option
from canonbench.cli.output import emit
from canonbench.errors import CanonbenchError

if TYPE_CHECKING:
    from canonbench.board import Places


FORMATS = ("pages", "csv", "parquet", "latex", "bibtex")
ROWS = option(
    "--rows",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the rows. [default: leaderboard/rows of the checkout]",
)
OUT = option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the pages. [default: the one that holds the folder of rows]",
)


@click.group(cls=Verbs, short_help="Build the leaderboard's pages from its rows; check that they agree.")
def leaderboard() -> None:
    """Build the leaderboard's pages from its rows; check that they agree."""


@leaderboard.command(short_help="Write the pages, or the board in another format.")
@ROWS
@OUT
@option("--format", "forms", type=click.Choice(FORMATS), multiple=True, default=("pages",), help="May be repeated.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def build(rows: Path | None, out: Path | None, forms: Sequence[str], quiet: bool) -> None:
    """Write the pages: README.md, index.html, plots, and the head of the board in the repository's README.md.

    \b
    canonbench leaderboard build
    canonbench leaderboard build --format csv --format bibtex --out exported

    The same rows give the same bytes. Other formats are one file each, and pages are then written only if asked for.
    """
    from canonbench.board import build as build_pages
    from canonbench.board import export

    places = _places(rows, out)
    for form in dict.fromkeys(forms):
        written = build_pages(places) if form == "pages" else [export(places, form)]
        if not quiet:
            emit("".join(f"{path}\n" for path in written) or "the pages are up to date\n")


@leaderboard.command(short_help="Fail if pages and rows disagree.")
@ROWS
@OUT
def check(rows: Path | None, out: Path | None) -> None:
    """Compare every page with what the rows give; exit code 1 if one differs, is missing, or should not be there."""
    from canonbench.board import check as check_pages

    found = check_pages(_places(rows, out))
    if not found:
        emit("the pages are up to date\n")
        return
    emit("".join(f"{finding}\n" for finding in found))
    raise CanonbenchError("pages and rows disagree; run 'canonbench leaderboard build', and commit what it writes")


def _places(rows: Path | None, out: Path | None) -> Places:
    from canonbench.board import Places
    from canonbench.results import find_checkout

    found = find_checkout().rows if rows is None else rows
    return Places(found, found.parent if out is None else out)
