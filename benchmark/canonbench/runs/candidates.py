"""Get the candidates of an editing method, and read the choices of a finished val run.

``candidates`` runs the method isolated, and ``require_candidate`` checks each model before it is scored. ``Chosen``
holds what a test run takes from its val run: the hyperparameters and the candidate chosen per task and league.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonbench.editing import EditRequest, Isolation, Method
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models import LoadedModel, vocabulary_size
from canonbench.results import Row, row_path_of
from canonbench.runs.spec import EvalSpec
from canonbench.scoring import UNEDITED


class MethodError(CanonbenchError):
    """The method itself failed. Candidates that it yielded before still count."""


@dataclass(frozen=True)
class Trained:
    """A candidate as the method yielded it. Valid only until the next one is requested, which may change the model."""

    number: int
    model: Any
    training_loss: float | None
    seconds: float
    """Seconds since the previous candidate."""


@dataclass
class Listener:
    """Callback for a method's training reports: keeps the last loss and forwards each report to ``tell``."""

    tell: Callable[[int, int, float], None]
    loss: float | None = None

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Record that one optimiser step is done."""
        self.loss = float(loss)
        self.tell(step, steps, self.loss)


def candidates(
    method: Method, loaded: LoadedModel, request: EditRequest[Any], listener: Listener, what: str
) -> Generator[Trained]:
    """Yield a method's candidates (or the one model that it returns), numbered from 1.

    The method runs isolated: torch, numpy and random are seeded with the request's seed before the call, and its
    changes to process-wide state do not leak out.

    Raises:
        MethodError: the method's code raised; the message says what, and after how many candidates.
    """
    own, number, start = Isolation(request.seed, after=method.module), 0, time.perf_counter()
    with _blamed(what, own, number):
        edited = method.edit(loaded.model, loaded.tokenizer, request)
    if not hasattr(edited, "__next__"):
        yield Trained(1, edited, listener.loss, time.perf_counter() - start)
        return
    try:
        while True:
            with _blamed(what, own, number):
                model = next(edited, _END)
            if model is _END:
                return
            number += 1
            yield Trained(number, model, listener.loss, time.perf_counter() - start)
            start = time.perf_counter()
    finally:
        with suppress(MethodError), _blamed(what, own, number):  # stopping early is not the method's fault
            getattr(edited, "close", lambda: None)()


_END = object()
"""Sentinel for the end of a method's candidates."""


@contextmanager
def _blamed(what: str, own: Isolation, number: int) -> Iterator[None]:
    """Turn anything that the method's code raises inside, except Ctrl-C, into a MethodError."""
    try:
        with own.entered():
            yield
    except KeyboardInterrupt:
        raise
    except CanonbenchError as error:
        raise MethodError(f"{what}: {error}") from error
    except BaseException as error:  # third-party code may raise anything
        reason = " ".join(str(error).split()) or "no message"
        did = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
        said = "a method ends by returning" if isinstance(error, SystemExit) else reason
        raise MethodError(
            f"{what}: the method {did} after {number} candidates: {said} ('canonbench --debug ...' shows where)"
        ) from error


def require_candidate(model: Any, base: LoadedModel, vocabulary: int) -> None:
    """Check that a candidate can be compared with its base.

    Raises:
        MethodError: it is not a model, has another vocabulary, or is on another device.
    """
    if not callable(getattr(model, "get_output_embeddings", None)):
        raise MethodError(f"a method must return or yield a causal language model, not {type(model).__name__}")
    if model.device != base.device:
        raise MethodError(f"it is on {model.device}, but the run is on {base.device}; move it back")
    if vocabulary_size(model) != vocabulary:
        raise MethodError(f"a different architecture: {vocabulary_size(model)} output rows, the base has {vocabulary}")


@dataclass(frozen=True)
class Chosen:
    """The choices of a finished val run."""

    row: Row
    hyperparameters: Mapping[str, Any]
    digest: str
    """Hash of the row's content."""

    def candidate(self, task: str, league: str) -> int:
        """Return the number of the candidate chosen for a task in a league; 0 is the unedited model."""
        assert self.row.leagues is not None
        return self.row.leagues[league].tasks[task].candidate or UNEDITED


def read_chosen(path: Path, asked: EvalSpec, method: str) -> Chosen:
    """Read the val run in ``path`` (a run folder, or its row).

    Raises:
        CanonbenchError: there is no finished val run, or a test run of ``asked`` cannot use it.
    """
    row = Row.read(row_path_of(path))
    if row.leagues is None or row.split != "val":
        raise CanonbenchError(f"{path} is not the row of a val run of 'canonbench edit'")
    for what, there, here in (
        ("method", row.method, method),
        ("suite", row.suite.name, asked.suite.name),
        ("protocol", row.protocol, asked.protocol.name),
    ):
        if there != here:
            raise UsageError(f"{path} chose for {what} {there!r}, this run is for {here!r}")
    for label in asked.protocol.leagues:
        if label not in row.leagues:
            raise UsageError(f"{path} chose nothing for league {label}; it has {', '.join(row.leagues)}")
        if missing := [task for task in asked.tasks if task not in row.leagues[label].tasks]:
            raise UsageError(f"{path} chose nothing for task {missing[0]!r}; run it on val first")
    return Chosen(row, row.hyperparameters or {}, hashlib.sha256(row.to_json().encode()).hexdigest())
