"""``canonbench methods``: list the editing methods and their settings."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import click

from canonbench.cli.options import Verbs
from canonbench.cli.output import WIDTH, emit, rendered

if TYPE_CHECKING:
    from canonbench.editing import Method, SettingDoc


YOURS = "Your own: --method method.py:edit, package.module:function, or a folder."


@click.group(cls=Verbs, invoke_without_command=True, short_help="List the editing methods; show the settings of one.")
@click.pass_context
def methods(ctx: click.Context) -> None:
    """List the editing methods: the built-in ones and those of installed packages."""
    if ctx.invoked_subcommand is None:
        emit(_listing())


@methods.command()
@click.argument("name")
def show(name: str) -> None:
    """Show what the method NAME does and what can be set of it; NAME is whatever --method takes."""
    from rich.table import Table

    from canonbench.editing import find_method

    method = find_method(name)
    settings = settings_of(method)
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("default", overflow="fold", max_width=12)
    table.add_column("meaning")
    for each in settings:
        table.add_row(each.name, each.default, f"{each.doc} [{each.type}]".strip())
    title = textwrap.fill(f"{method.name}: {summary(method)}", WIDTH)
    emit(rendered(title, "", table if settings else NO_SETTINGS))


NO_SETTINGS = "It names no settings class: it gets what --set gives it as a mapping."


def settings_of(method: Method) -> list[SettingDoc]:
    """The settings of a method; empty if it takes a plain mapping."""
    from canonbench.editing import fields_of

    return [] if method.settings is None else fields_of(method.settings, method.defaults)


def with_default(setting: SettingDoc) -> str:
    """Describe a setting: its effect, its valid values, and its default."""
    from canonbench.editing import REQUIRED

    default = REQUIRED if setting.default == REQUIRED else f"default: {setting.default}"
    return f"{setting.doc}  [{setting.type}; {default}]".strip()


def summary(method: Method) -> str:
    """First docstring line of the method's module, or else of the method."""
    module = sys.modules.get(method.edit.__module__)
    said = getattr(module, "__doc__", None) or method.edit.__doc__ or "(no docstring)"
    return str(said).strip().splitlines()[0]


def _listing() -> str:
    from importlib.metadata import entry_points

    from rich.table import Table

    from canonbench.editing import BUILT_IN, GROUP, find_method
    from canonbench.errors import CanonbenchError

    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("what it does")
    for name in BUILT_IN:
        table.add_row(name, summary(find_method(name)))
    for entry in sorted(entry_points(group=GROUP)):
        if entry.name in BUILT_IN:
            said = f"hidden by the built-in method of this name; use --method {entry.value}"
        else:
            try:
                said = summary(find_method(entry.name))
            except CanonbenchError as error:  # one broken package must not hide the others
                said = f"unusable: {error}"
        table.add_row(entry.name, said)
    return rendered(table, "", "Settings: canonbench methods show lora", YOURS)
