"""Options that every verb shares: each can also come from the environment or a YAML file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from canonbench.errors import CanonbenchError, unknown_name


def option(flag: str, *more: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option that ``CANONBENCH_<FLAG>`` sets too."""
    settings.setdefault("envvar", "CANONBENCH_" + flag.lstrip("-").replace("-", "_").upper())
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(flag, *more, **settings)


def config_option() -> Callable[[Any], Any]:
    """``--config FILE.yaml``: option names and values; the command line and the environment win over it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_read_config,
        is_eager=True,
        expose_value=False,
        envvar="CANONBENCH_CONFIG",
        help="YAML file with any of these options (model: ..., task: ...).",
    )


def passed(ctx: click.Context) -> dict[str, Any]:
    """The options that did not come from their defaults, as given."""
    default = click.core.ParameterSource.DEFAULT
    given = {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in (default, None)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


def _read_config(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    import yaml  # noqa: PLC0415

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CanonbenchError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path}: must hold 'option: value' lines")
    known = {name: parameter for parameter in ctx.command.params if (name := parameter.name) and name != "config"}
    chosen = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise unknown_name(f"option in {path}:", str(key), [each.replace("_", "-") for each in known])
        chosen[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    ctx.default_map = {**(ctx.default_map or {}), **chosen}
