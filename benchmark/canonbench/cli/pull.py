"""``canonbench pull``."""

from __future__ import annotations

from pathlib import Path

import click

from canonbench.cli.options import config_option, option
from canonbench.cli.output import emit


@click.command(short_help="Bring rows and runs from a data set on the Hugging Face hub.")
@click.argument("repo", metavar="OWNER/NAME")
@option("--to", type=click.Path(path_type=Path), help="The folder to put rows/ and runs/ in. [default: NAME]")
@option("--revision", help="A branch, tag or commit. [default: the newest]")
@option("--replace", is_flag=True, help="Put files in the place of those here that differ.")
@option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@config_option()
def pull(repo: str, to: Path | None, revision: str | None, replace: bool, quiet: bool) -> None:
    """Bring all rows and runs of a data set that canonbench push has filled.

    \b
    canonbench pull me/my-runs
    canonbench pull me/board --to leaderboard --revision 1a2b3c4

    Rows must be rows, and a run's numbers must follow from its examples; else nothing is written.
    """
    from canonbench.network import to_stderr
    from canonbench.submissions import pull as bring

    folder = Path(repo.rpartition("/")[2]) if to is None else to
    say = (lambda _line: None) if quiet else to_stderr
    pulled = bring(repo, folder, revision=revision, replace=replace, say=say)
    if not quiet:
        unchanged = f", {len(pulled.unchanged)} were here already" if pulled.unchanged else ""
        emit("".join(f"{path}\n" for path in pulled.new) + f"{len(pulled.new)} files of {pulled.commit}{unchanged}\n")
