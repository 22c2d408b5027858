"""The entry point: wires the verbs and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from canonbench._version import __version__
from canonbench.cli.data import data
from canonbench.cli.evaluate import evaluate
from canonbench.cli.tasks import tasks
from canonbench.errors import CanonbenchError

DEBUG_HELP = "Show the traceback of an error."


class Verbs(click.Group):
    """A group that suggests the verb that was meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with a "did you mean" for an unknown verb."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Verbs: {', '.join(self.list_commands(ctx))}."
            raise click.UsageError(f"no such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="canonbench")
@click.option("--debug", is_flag=True, envvar="CANONBENCH_DEBUG", help=DEBUG_HELP)
def cli(debug: bool) -> None:
    """Benchmark model editing with canonical examples: load the data, score, report one standard row.

    \b
    canonbench evaluate --model demo --task all            a checkpoint's own scores
    canonbench evaluate --model EDITED --base BASE         what an edit bought, per league
    canonbench tasks show country -n 3                     what is asked
    canonbench data fetch published                        the published data set
    """
    os.environ["CANONBENCH_DEBUG"] = "1" if debug else ""


cli.add_command(evaluate)
cli.add_command(tasks)
cli.add_command(data)


def main() -> NoReturn:
    """Run the command line; exit code 0, 1 (failure or interrupted) or 2 (usage)."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        _leave(2)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code, error)
    except CanonbenchError as error:
        _fail(str(error), error.exit_code, error)
    except (KeyboardInterrupt, click.exceptions.Abort) as error:
        _fail("interrupted; nothing computed is lost, the same command continues", 1, error)
    except BrokenPipeError:
        _leave(1)
    except MemoryError as error:
        _fail("out of memory; try a smaller --batch-tokens or a smaller model", 1, error)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no message"
        _fail(
            f"unexpected {type(error).__name__}: {reason[:300]} (run with canonbench --debug for the traceback)",
            1,
            error,
        )
    _leave(0)


def _terminate(_signum: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int, error: BaseException) -> NoReturn:
    if os.environ.get("CANONBENCH_DEBUG"):
        raise error
    print(f"canonbench: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away (| head): what it wanted was written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
