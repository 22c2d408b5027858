"""Write docs/reference/cli.md from the command line's own help.

python scripts/write_cli_reference.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from canonbench.cli.main import cli

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Every option can also be set by an environment variable (`CANONBENCH_BATCH_TOKENS` for `--batch-tokens`), and in the
YAML file that `--config` names, if the command has that option. The command line comes first, then the environment,
then the file. `-h` or `--help` after a command shows its section of this page. Exit codes: 0, 1 (failure or
interrupted), 2 (wrong usage).

This page is written by `scripts/write_cli_reference.py` from the program's own help.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="canonbench", **cli.context_settings)
    return "\n".join([HEAD, *sections(cli, context)]).rstrip() + "\n"


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section about the command, then one for each command in it."""
    yield f"## {context.command_path}\n"
    yield from paragraphs(command.help or "")
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    options = [each for each in command.get_params(context) if "--help" not in each.opts]
    rows = [record for each in options if (record := each.get_help_record(context)) and each.opts[0].startswith("-")]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{cell(flags)}` | {escaped(cell(meaning))} |" for flags, meaning in rows)
        yield ""
    for name in command.list_commands(context) if isinstance(command, click.Group) else []:
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from sections(child, click.Context(child, info_name=name, parent=context))


def paragraphs(text: str) -> Iterator[str]:
    """The help in Markdown; paragraphs that click does not wrap (``\\b``) become blocks of commands."""
    for paragraph in cleandoc(text).split("\n\n"):
        lines = paragraph.strip("\n").split("\n")
        if lines[0] == "\b":
            yield "\n".join(["```sh", *(commented(line) for line in lines[1:]), "```\n"])
        else:
            yield escaped(" ".join(line.strip() for line in lines)) + "\n"


def commented(line: str) -> str:
    """A line ``command      what it does`` of the help as a shell command with a comment."""
    command, *meaning = re.split(r" {4,}", line.strip(), maxsplit=1)
    return f"{command}  # {meaning[0]}" if meaning else command


def cell(text: str) -> str:
    """Text that stays within one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def escaped(text: str) -> str:
    """Text in which Markdown sees neither links nor tags."""
    return text.replace("<", "&lt;").replace("[", "\\[")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
