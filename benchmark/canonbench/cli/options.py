"""Options that verbs share; each can also be set by the environment or a YAML file.

Verbs that score models share groups of options: the data, the place of results, computation, and printing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from canonbench.errors import LARGEST_COUNT, LARGEST_SEED, CanonbenchError, UsageError, unknown_name

SUITE_HELP = "mini, published, or a folder with a suite.yaml. [default: published if at hand, else mini]"
CONFIG = "config"
SET = "set"
SETTINGS = "canonbench.settings"
"""Key under which a click context stores the settings from the --config file."""
SETTINGS_TOO = "; all else in it are settings of the method."


class Verbs(click.Group):
    """A group that suggests a similar verb for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Resolve as click does, with the list of verbs and a "did you mean" for an unknown one."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise unknown_name("command", name, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


class WholeNumber(click.IntRange):
    """A whole number; click's name for the type, "integer range", is unclear in a message."""

    name = "whole number"

    def __init__(self, min: int, max: int = LARGEST_COUNT) -> None:
        """Allow numbers from ``min`` to ``max``, both included."""
        super().__init__(min, max)


class Seed(WholeNumber):
    """The seed of a random number generator."""

    def __init__(self) -> None:
        """Allow numbers from 0."""
        super().__init__(0, LARGEST_SEED)


def option(flag: str, *more: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option that ``CANONBENCH_<FLAG>`` can also set."""
    settings.setdefault("envvar", "CANONBENCH_" + flag.lstrip("-").replace("-", "_").upper())
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(flag, *more, **settings)


def config_option(*, with_settings: bool = False) -> Callable[[Any], Any]:
    """Add ``--config FILE.yaml``: option names and values; the command line and the environment override it.

    ``with_settings``: keys that are not options, and all keys under ``set``, are settings of the method.
    """
    return click.option(
        f"--{CONFIG}",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=partial(_read_config, with_settings=with_settings),
        is_eager=True,
        expose_value=False,
        envvar="CANONBENCH_CONFIG",
        help=f"YAML file with any of these options (model: ..., task: ...){SETTINGS_TOO if with_settings else '.'}",
    )


def config_settings(ctx: click.Context) -> dict[str, Any]:
    """The settings given in the ``--config`` file."""
    return dict(ctx.meta.get(SETTINGS, {}))


def passed(ctx: click.Context) -> dict[str, Any]:
    """The options that were given, by long name, with the values as given."""
    given = {
        name: ctx.params[parameter.name]
        for name, parameter in _by_long_name(ctx.command).items()
        if parameter.name in ctx.params
        and ctx.get_parameter_source(parameter.name) not in (ParameterSource.DEFAULT, None)
    }
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


def token_budget(ctx: click.Context, parameter: click.Parameter, value: str) -> str | int:
    """Callback of ``--batch-tokens``: ``auto``, or a positive number."""
    if value == "auto":
        return value
    if not value.isdecimal() or len(value) > len(str(LARGEST_COUNT)) or not 1 <= int(value) <= LARGEST_COUNT:
        message = f"{value!r} is neither 'auto' nor a number of tokens from 1 to {LARGEST_COUNT}"
        raise click.BadParameter(message, ctx, parameter)
    return int(value)


def came_from(ctx: click.Context, parameter: click.Parameter) -> str | None:
    """The environment variable or the kind of file that set a parameter; None if the command line or nothing did."""
    source = ctx.get_parameter_source(parameter.name) if parameter.name else None
    if source is ParameterSource.ENVIRONMENT:
        return str(parameter.envvar)
    return f"the --{CONFIG} file" if source is ParameterSource.DEFAULT_MAP else None


def _by_long_name(command: click.Command) -> dict[str, click.Parameter]:
    """Map options by long name, such as ``batch-tokens`` for ``--batch-tokens``, whatever the Python name."""
    return {max(parameter.opts, key=len).lstrip("-"): parameter for parameter in command.params}


def _read_config(ctx: click.Context, _parameter: click.Parameter, path: Path | None, *, with_settings: bool) -> None:
    if path is None:
        return
    if path == Path():  # the value of an empty text
        raise UsageError(f"--{CONFIG}: give the name of a YAML file")
    from canonbench.records import read_yaml

    known = {name: parameter for name, parameter in _by_long_name(ctx.command).items() if name != CONFIG}
    chosen: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for key, value in read_yaml(path, "task: country").items():
        name = str(key).replace("_", "-")
        if with_settings and name == SET:
            if not isinstance(value, dict):
                raise CanonbenchError(f"{path}: {SET!r} must hold 'name: value' lines")
            settings |= value
        elif name in known:
            chosen[str(known[name].name)] = _as_on_the_command_line(value, f"{path}: {key!r}")
        elif with_settings:
            settings[str(key)] = value
        else:
            raise unknown_name("option", str(key), known, where=f"in {path}")
    ctx.default_map = {**(ctx.default_map or {}), **chosen}
    ctx.meta[SETTINGS] = settings


def _as_on_the_command_line(value: Any, place: str) -> str:
    """Convert a value to command-line text, so that it is checked in the same way; lists are joined by commas."""
    parts = value if isinstance(value, list) else [value]
    if not parts or None in parts:
        raise CanonbenchError(f"{place} has no value; give one, or leave the line out")
    if any(isinstance(part, dict | list) for part in parts):
        raise CanonbenchError(f"{place} must be a single value or a list, not a mapping")
    return ",".join(map(str, parts))


Decorator = Callable[[Any], Any]


def data_options(split: str, split_help: str) -> Decorator:
    """Options for the rows to score and the protocol; ``split`` is the default split."""
    return _together(
        option("--task", "-t", default="all", help="Task names separated by commas, or all."),
        option("--suite", help=SUITE_HELP),
        option("--split", metavar="[test|val]", default=split, help=split_help),
        option(
            "--general", help="General text for the leagues, by name, or none. [default: the suite's first at hand]"
        ),
        option(
            "--limit",
            metavar="N",
            type=WholeNumber(min=1),
            help="Only the first N rows of every file (a quick look, not a result).",
        ),
        option("--protocol", default="canonbench-1", help="canonbench-1, hewitt2024, or a YAML file."),
    )


def place_options() -> Decorator:
    """Options for the place of the results."""
    return _together(
        option("--run", type=click.Path(path_type=Path), help="Run folder. [default: one under canonbench-runs/]"),
        option(
            "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Also write the row to this file."
        ),
    )


def compute_options() -> Decorator:
    """Options for loading and running the models."""
    return _together(
        option("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto."),
        option(
            "--dtype",
            default="auto",
            help="float32, bfloat16, float16, float64, or auto (docs/reference/protocol.md#1-log-likelihood).",
        ),
        option(
            "--batch-tokens",
            metavar="N",
            default="auto",
            callback=token_budget,
            help="Tokens per forward pass, or auto.",
        ),
        option(
            "--states-budget",
            metavar="GIB",
            type=float,
            default=4.0,
            help="Disk in the cache for hidden states, from which edited models resume (same scores, sooner); 0 = off.",
        ),
        option("--allow-pickle", is_flag=True, help="Read pickle checkpoints too (with weights_only=True)."),
        option("--trust-remote-code", is_flag=True, help="Run Python code that comes with the checkpoint."),
    )


def print_options() -> Decorator:
    """Options for the printed output."""
    return _together(
        option("--quiet", "-q", is_flag=True, help="No notes, no progress, no table."),
        option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    )


def _together(*options: Decorator) -> Decorator:
    """Combine several decorators into one; the help lists the options in this order."""

    def decorate(command: Any) -> Any:
        for each in reversed(options):
            command = each(command)
        return command

    return decorate
