"""Progress for people: a bar on a terminal, plain lines elsewhere, silence on request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counts tokens against an estimate and tells it to ``show(done, total, what)``; notes go to ``say``."""

    say: Callable[[str], None] = lambda _line: None
    show: Callable[[int, int, str], None] = lambda _done, _total, _what: None
    total: int = 0
    done: int = field(default=0, init=False)

    def expect(self, tokens: int) -> None:
        """More work became known."""
        self.total += tokens

    def advance(self, tokens: int, what: str) -> None:
        """Some of it is done."""
        self.done += tokens
        self.show(self.done, self.total, what)


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """A bar with tokens, rate and time left if standard error is a terminal, else a line every ten seconds."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield Progress(say=_plain, show=_Lines())


def _plain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} tokens"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield Progress(say=lambda line: console.print(line, markup=False, highlight=False), show=show)


@dataclass
class _Lines:
    every: float = 10.0
    """Seconds between two lines."""
    started: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)
    first: int = -1

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = done
        if now - self.last < self.every:
            return
        self.last = now
        rate = (done - self.first) / (now - self.started)
        left = f", about {(total - done) / rate:.0f} s left" if rate > 0 else ""
        _plain(f"{what}: {done:,} of {total:,} tokens ({100 * done // max(total, 1)} %){left}")
