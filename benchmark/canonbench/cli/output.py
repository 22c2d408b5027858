"""Write a verb's text to standard output, in one piece."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from canonbench.errors import CanonbenchError

if TYPE_CHECKING:
    from rich.console import RenderableType


WIDTH = 80
"""Width in columns of a table if the output is not a terminal."""


def emit(text: str, *, encoding: str | None = None) -> None:
    """Write ``text``; characters that the encoding (by default the terminal's) lacks become question marks.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        CanonbenchError: the text cannot be written (full disk).
    """
    if sys.stdout is None:  # closed by the caller (>&-)
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(encoding or sys.stdout.encoding, errors="replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CanonbenchError(f"cannot write to standard output: {error.strerror}") from error


def rendered(*parts: RenderableType) -> str:
    """Render tables as wide as the terminal (else ``WIDTH``), and lines of text, which are never wrapped."""
    from rich.console import Console
    from rich.table import Table

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = StringIO()
    width = None if is_terminal else WIDTH
    console = Console(file=text, force_terminal=is_terminal, width=width, highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
