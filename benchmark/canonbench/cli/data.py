"""``canonbench data``: fetch the published suite, check any suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canonbench.cli.options import Verbs, option
from canonbench.cli.output import emit
from canonbench.errors import unknown_name

if TYPE_CHECKING:
    from canonbench.suite import Finding, Level


LEVELS: tuple[Level, ...] = ("error", "warning", "note")
PLACES = 5
"""Maximum number of lines named when many have the same finding."""


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
    from canonbench.network import to_stderr
    from canonbench.suite import fetch_published

    fetch_published(
        source=source,
        without_openwebtext_500=without_openwebtext_500,
        progress=False if quiet else None,
        say=(lambda _line: None) if quiet else to_stderr,
    )


@data.command(short_help="Verify a suite's data.")
@click.argument("suite", default="mini")
@option("--verbose", "-v", is_flag=True, help="List every finding, not one line per rule.")
@click.pass_context
def check(ctx: click.Context, suite: str, verbose: bool) -> None:
    """Check SUITE (mini, published, or a folder): all that a program can verify about its data.

    Exit code 1 when there is an error.
    """
    from canonbench.suite import Suite, check_suite

    found = check_suite(Suite.load(suite), mini_sizes=suite == "mini")
    lines = [_line([each]) for each in found] if verbose else [_line(group) for group in _by_rule(found)]
    counts = Counter(finding.level for finding in found)
    summary = ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS)
    hint = " (--verbose lists each)" if len(lines) < len(found) else ""
    emit("\n".join([*lines, f"suite {suite}: {summary}{hint}\n"]))
    if counts["error"]:
        ctx.exit(1)


def _by_rule(found: Sequence[Finding]) -> list[list[Finding]]:
    """Group findings by rule and level, errors first, then the most frequent."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.level, finding.rule), []).append(finding)
    return sorted(groups.values(), key=lambda group: (LEVELS.index(group[0].level), -len(group), group[0].rule))


def _line(group: Sequence[Finding]) -> str:
    """Format the first finding in full, then the rule, the number of findings, and the other lines of this file."""
    first = group[0]
    about = first.rule
    if len(group) > 1:
        files = len({finding.path for finding in group})
        here = [str(finding.row + 1) for finding in group if finding.path == first.path and finding.row is not None]
        about += f": {len(group)} in {files} file{'' if files == 1 else 's'}"
        if len(here) > 1:
            about += f"; here lines {', '.join(here[:PLACES])}{', ...' if len(here) > PLACES else ''}"
    return f"{first.level}: {first} [{about}]"
