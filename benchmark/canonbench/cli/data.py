"""``canonbench data``: fetch the published suite, check any suite."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import Verbs, option
from canonbench.cli.output import emit
from canonbench.errors import unknown_name


@click.group(cls=Verbs, short_help="Fetch the published suite; check any suite.")
def data() -> None:
    """Fetch the published suite; check any suite."""


@data.command(short_help="Download the published data set, or import a copy.")
@click.argument("name", metavar="published")
@option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False),
    help="Import a local copy instead (the folder that holds data/).",
)
@option("--without-openwebtext-500", is_flag=True, help="Leave out the two large general-text files.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def fetch(name: str, source: Path | None, without_openwebtext_500: bool, quiet: bool) -> None:
    """Download the published data set into the cache, every file verified; safe to repeat and to interrupt."""
    if name != "published":
        raise unknown_name("data set", name, ["published"])
    from canonbench.offline import to_stderr  # noqa: PLC0415
    from canonbench.suite.fetch import fetch_published  # noqa: PLC0415

    fetch_published(
        source=source,
        without_openwebtext_500=without_openwebtext_500,
        progress=False if quiet else None,
        say=(lambda _line: None) if quiet else to_stderr,
    )


@data.command(short_help="Verify a suite's data.")
@click.argument("suite", default="mini")
@option("--all", "show_all", is_flag=True, help="List warnings and notes one by one too.")
@click.pass_context
def check(ctx: click.Context, suite: str, show_all: bool) -> None:
    """Check SUITE (mini, published, or a folder): all that a program can verify about its data.

    Exit code 1 when there is an error.
    """
    from canonbench.suite import Suite  # noqa: PLC0415
    from canonbench.suite.check import check_suite  # noqa: PLC0415

    found = check_suite(Suite.load(suite), mini_sizes=suite == "mini")
    lines = [f"{finding.level}: {finding}" for finding in found if show_all or finding.level == "error"]
    counts = {level: sum(finding.level == level for finding in found) for level in ("error", "warning", "note")}
    summary = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items())
    hint = "" if show_all or not (counts["warning"] or counts["note"]) else " (--all lists them)"
    emit("\n".join([*lines, f"suite {suite}: {summary}{hint}\n"]))
    if counts["error"]:
        ctx.exit(1)
