"""Report progress and estimate the time left: a bar on a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


HALF_LIFE = 60.0
"""Half-life, in seconds of work, of a speed measurement, since the speed changes during a run."""


@dataclass
class Pace:
    """The speed of one kind of work, in its own units: tokens scored, or optimiser steps."""

    units: float = 0.0
    seconds: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        """Record that ``units`` of work took ``seconds``."""
        kept = 0.5 ** (seconds / HALF_LIFE)
        self.units = kept * self.units + units
        self.seconds = kept * self.seconds + seconds

    def time_for(self, units: float) -> float | None:
        """Return the seconds that ``units`` of work will take; None before the first measurement."""
        if not units:
            return 0.0
        return units * self.seconds / self.units if self.units and self.seconds else None


def span(seconds: float) -> str:
    """Format a duration: ``42 s``, ``7 min``, ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


SMOOTHING = 0.9
"""Weight of the previous value in the smoothed training loss."""
EVERY = 10.0
"""Seconds between two plain lines."""


class Training(NamedTuple):
    """The state of one training."""

    what: str
    step: int
    """Optimiser steps done."""
    steps: int
    """Optimiser steps in total."""
    loss: float
    """Training loss of the last step."""
    smoothed: float
    """Exponential moving average of the loss so far."""


@dataclass
class Progress:
    """Counts scored tokens and training steps against what is expected, and estimates the time left.

    Scoring is reported to ``show(done, total, what)``, training to ``show_training``, and notes to ``say``.
    """

    say: Callable[[str], None] = lambda _line: None
    show: Callable[[int, int, str], None] = lambda _done, _total, _what: None
    show_training: Callable[[Training], None] = lambda _training: None
    total: int = 0
    clock: Callable[[], float] = time.monotonic
    done: int = field(default=0, init=False)
    folder: Path | None = field(default=None, init=False)
    """The folder of the run's results, once it is known."""
    _scoring: Pace = field(default_factory=Pace, init=False)
    _steps: Pace = field(default_factory=Pace, init=False)
    _trainings: int = field(default=0, init=False)
    """Number of trainings that have not started yet."""
    _training: Training | None = field(default=None, init=False)
    _last: float | None = field(default=None, init=False)
    """Time of the last report."""

    def in_folder(self, folder: Path) -> None:
        """Set the folder of the run's results."""
        self.folder = folder
        self.say(f"run folder: {folder}")

    def expect(self, tokens: int) -> None:
        """Add ``tokens`` to the expected work; a negative number removes some."""
        self.total += tokens
        if self._last is None:
            self._elapsed()  # work begins now

    def expect_trainings(self, number: int) -> None:
        """Add ``number`` trainings to the expected work."""
        self._trainings += number

    def advance(self, tokens: int, what: str) -> None:
        """Record that ``tokens`` have been scored."""
        self._scoring.add(tokens, self._elapsed())
        self.skip(tokens, what)

    def skip(self, tokens: int, what: str) -> None:
        """Record that ``tokens`` were scored in an earlier run and took no time now."""
        self.done += tokens
        self._elapsed()
        self.show(self.done, self.total, what)

    def training(self, what: str, step: int, steps: int, loss: float) -> None:
        """Record an optimiser step of the training ``what``; ``step`` of ``steps`` are done."""
        before, seconds = self._training, self._elapsed()
        typical = True
        if before is None or before.what != what:
            before = Training(what, 0, steps, loss, loss)
            self._trainings = max(self._trainings - 1, 0)
            typical = steps == 1  # the time of the first of several steps includes loading the model
        if typical:
            self._steps.add(step - before.step, seconds)
        smoothed = SMOOTHING * before.smoothed + (1 - SMOOTHING) * loss
        self._training = Training(what, step, steps, loss, smoothed)
        self.show_training(self._training)

    def left(self) -> float | None:
        """Return the seconds left for all known work; None while too little is known."""
        at = self._training
        if at is None and self._trainings:
            return None
        steps = (at.steps - at.step) + self._trainings * at.steps if at is not None else 0
        scoring, training = self._scoring.time_for(max(self.total - self.done, 0)), self._steps.time_for(max(steps, 0))
        return None if scoring is None or training is None else scoring + training

    def _elapsed(self) -> float:
        """Return the seconds since the last call, which is the time of the work just reported."""
        now = self.clock()
        before, self._last = self._last, now
        return 0.0 if before is None else now - before


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Show bars with the time left if standard error is a terminal, else print a line every ten seconds."""
    if sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield plain_progress(lambda line: print(line, file=sys.stderr, flush=True))


def plain_progress(say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Report progress as lines of text, one every ten seconds."""
    progress = Progress(say=say, clock=clock)
    last = clock()

    def line(text: str) -> None:
        nonlocal last
        if clock() - last >= EVERY:
            last = clock()
            left = progress.left()
            say(text if left is None else f"{text}, about {span(left)} left")

    def show(done: int, total: int, what: str) -> None:
        line(f"{what}: {done:,} of {total:,} tokens ({100 * done // max(total, 1)} %)")

    progress.show = show
    progress.show_training = lambda at: line(
        f"{at.what}: step {at.step:,} of {at.steps:,}, loss {at.loss:.4f} (smoothed {at.smoothed:.4f})"
    )
    return progress


@contextmanager
def _bars() -> Iterator[Progress]:
    """Show a bar for scoring, and below it one for training once that starts."""

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<14}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _on_bar(bar, lambda line: console.print(line, markup=False, highlight=False))


def _on_bar(bar: Bar, say: Callable[[str], None]) -> Progress:
    progress = Progress(say=say)
    scoring = bar.add_task("", total=None, detail="", left="")
    training = bar.add_task("", total=None, detail="", left="", visible=False)

    def left() -> None:
        seconds = progress.left()
        bar.update(scoring, left="" if seconds is None else f"{span(seconds)} left")

    def show(done: int, total: int, what: str) -> None:
        bar.update(scoring, completed=done, total=total, description=what, detail=f"{done:,} / {total:,} tokens")
        left()

    def show_training(at: Training) -> None:
        detail = f"step {at.step:,} / {at.steps:,}  loss {at.smoothed:.4f}"
        running = at.step < at.steps
        bar.update(training, completed=at.step, total=at.steps, description=at.what, detail=detail, visible=running)
        left()

    progress.show, progress.show_training = show, show_training
    return progress
