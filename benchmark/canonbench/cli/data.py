"""``canonbench data``: fetch the published suite, check any suite."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import option


@click.group(short_help="Fetch the published suite; check any suite.")
def data() -> None:
    """Fetch the published suite; check any suite."""


@data.command()
@click.argument("name", type=click.Choice(["published"]))
@option(
    "--from",
    "source",
    type=click.Path(path_type=Path, file_okay=False),
    help="Import a local copy.",
)
@option("--without-openwebtext-500", is_flag=True, help="Leave out the two large general-text files.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def fetch(name: str, source: Path | None, without_openwebtext_500: bool, quiet: bool) -> None:  # noqa: ARG001
    """Download the published data set into the cache, every file verified; safe to repeat and to interrupt."""
    from canonbench.offline import to_stderr  # noqa: PLC0415
    from canonbench.suite.fetch import fetch_published  # noqa: PLC0415

    fetch_published(
        source=source,
        without_openwebtext_500=without_openwebtext_500,
        progress=False if quiet else None,
        say=(lambda _line: None) if quiet else to_stderr,
    )


@data.command()
@click.argument("suite", default="mini")
@click.option("--all", "show_all", is_flag=True, help="List warnings and notes one by one too.")
def check(suite: str, show_all: bool) -> None:
    """Check SUITE (mini, published, or a folder): all that a program can verify about its data.

    Exit code 1 when there is an error.
    """
    from canonbench.suite import Suite  # noqa: PLC0415
    from canonbench.suite.check import check_suite  # noqa: PLC0415

    found = check_suite(Suite.load(suite), mini_sizes=suite == "mini")
    counts = {level: sum(finding.level == level for finding in found) for level in ("error", "warning", "note")}
    for finding in found:
        if show_all or finding.level == "error":
            click.echo(f"{finding.level}: {finding}")
    summary = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items())
    hint = "" if show_all or not (counts["warning"] or counts["note"]) else " (--all lists them)"
    click.echo(f"suite {suite}: {summary}{hint}")
    if counts["error"]:
        raise click.exceptions.Exit(1)
