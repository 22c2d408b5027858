"""The entry point: register the verbs, and turn every error into one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from canonbench._version import __version__
from canonbench.cli.compare import compare
from canonbench.cli.convert_backpack import convert_backpack
from canonbench.cli.data import data
from canonbench.cli.edit import edit
from canonbench.cli.evaluate import evaluate
from canonbench.cli.export import export
from canonbench.cli.leaderboard import leaderboard
from canonbench.cli.merge import merge
from canonbench.cli.methods import methods
from canonbench.cli.options import Verbs, came_from
from canonbench.cli.pull import pull
from canonbench.cli.push import push
from canonbench.cli.report import report
from canonbench.cli.reproduce import reproduce
from canonbench.cli.senses import senses
from canonbench.cli.submit import submit, validate
from canonbench.cli.tasks import tasks
from canonbench.errors import CanonbenchError, UsageError

TRACEBACK = "run 'canonbench --debug ...' for the traceback"


@dataclass
class Session:
    """The state of the command line that the entry point needs after a verb has failed."""

    debug: bool = False


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="canonbench")
@click.option("--debug", is_flag=True, envvar="CANONBENCH_DEBUG", help="Show the traceback of an error.")
@click.pass_obj
def cli(session: Session, debug: bool) -> None:
    """Benchmark model editing with canonical examples: load the data, score, report one standard row.

    \b
    canonbench evaluate --model demo --task all            a checkpoint's own scores
    canonbench evaluate --model EDITED --base BASE         what an edit bought, per league
    canonbench edit --method lora --model demo             an editing method, from training to its row
    canonbench tasks show country -n 3                     what is asked
    canonbench data fetch published                        the published data set
    """
    session.debug = debug


for verb in (
    evaluate,
    edit,
    methods,
    compare,
    report,
    export,
    merge,
    senses,
    submit,
    validate,
    reproduce,
    leaderboard,
    tasks,
    data,
    push,
    pull,
    convert_backpack,
):
    cli.add_command(verb)


def main() -> NoReturn:
    """Run the command line; exit code 0, 1 (failure or interrupted) or 2 (usage)."""
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("TQDM_DISABLE", "1")  # other progress bars (GGUF unpacking) would mix with ours
    session = Session()
    try:
        _require_text()
        # click returns the code of an Exit instead of raising it
        code = cli.main(prog_name="canonbench", standalone_mode=False, obj=session)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        _leave(2)
    except (BrokenPipeError, SystemExit):  # the pipe was closed (| head), on which click calls sys.exit
        _leave(1)
    except BaseException as error:
        message, code = _explain(error)
        if session.debug:
            traceback.print_exception(error)
        print(f"canonbench: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
        _leave(code)
    _leave(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the message for an error, and the exit code."""
    match error:
        case click.ClickException():
            return _usage(error), error.exit_code
        case CanonbenchError():
            return str(error), error.exit_code
        case KeyboardInterrupt() | click.exceptions.Abort():
            return "interrupted; nothing computed is lost, the same command continues", 1
        case OSError() if error.filename is not None and error.strerror:
            return f"cannot use {error.filename}: {error.strerror}", 1
        case MemoryError():
            return "out of memory; try a smaller --batch-tokens or a smaller model", 1
        case _:
            reason = " ".join(str(error).split())[:300] or "no message"
            return f"unexpected {type(error).__name__}: {reason} ({TRACEBACK})", 1


def _require_text() -> None:
    """Raise UsageError for an argument or variable that is not UTF-8: files with such names could not be written."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("CANONBENCH_")}
    for given in (*sys.argv[1:], *ours, *ours.values()):
        try:
            given.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(f"{given!r} is not UTF-8 text") from error


def _usage(error: click.ClickException) -> str:
    """Format click's message, with the source of the bad value if not the command line, and how to get help."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    if context is None:
        return message
    if parameter is not None and (origin := came_from(context, parameter)):
        return f"{message.rstrip('.')} (given by {origin})"
    return message if "id you mean" in message else f"{message.rstrip('.')}; see '{context.command_path} --help'"


def _terminate(_signum: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _leave(code: int) -> NoReturn:
    try:
        if sys.stdout is not None:  # it is None if the caller closed it (>&-)
            sys.stdout.flush()
    except OSError:  # closed pipe or full disk: the rest of the buffer must not fail a second time at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
