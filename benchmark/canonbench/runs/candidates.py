"""Ask a method for its candidates, and look at each before it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from canonbench.editing.contract import EditRequest
from canonbench.editing.isolation import Isolation
from canonbench.editing.method import Method
from canonbench.errors import CanonbenchError
from canonbench.models.face import vocabulary_size
from canonbench.models.load import LoadedModel


class MethodError(CanonbenchError):
    """The method failed, not what measures it: candidates that it yielded before still count."""


@dataclass(frozen=True)
class Trained:
    """A candidate as the method yielded it; true only until the next one is asked for."""

    number: int
    model: Any
    training_loss: float | None
    seconds: float
    """Since the one before."""


@dataclass
class Listener:
    """Hears a method's reports: keeps the last training loss and passes everything on."""

    tell: Callable[[int, int, float], None]
    loss: float | None = None

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """One step is done."""
        self.loss = float(loss)
        self.tell(step, steps, self.loss)


def candidates(
    method: Method, loaded: LoadedModel, request: EditRequest[Any], listener: Listener, what: str
) -> Generator[Trained]:
    """The candidates that a method yields (or the one model that it returns), numbered from 1.

    The method runs isolated: torch, numpy and random are seeded with the request's seed before it is called, and the
    state of the process that it works in is its own, however it changes it.

    Raises:
        MethodError: the method's code raised something; it says what, and after how many candidates.
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
        with suppress(MethodError), _blamed(what, own, number):  # that there is more is no fault of the method
            getattr(edited, "close", lambda: None)()


_END = object()
"""What comes after a method's last candidate."""


@contextmanager
def _blamed(what: str, own: Isolation, number: int) -> Iterator[None]:
    """The method's code runs inside, and whatever it raises but Ctrl-C is a MethodError."""
    try:
        with own.entered():
            yield
    except KeyboardInterrupt:
        raise
    except CanonbenchError as error:
        raise MethodError(f"{what}: {error}") from error
    except BaseException as error:  # somebody else's code may raise anything
        reason = " ".join(str(error).split()) or "no message"
        did = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {type(error).__name__}"
        said = "a method ends by returning" if isinstance(error, SystemExit) else reason
        raise MethodError(
            f"{what}: the method {did} after {number} candidates: {said} ('canonbench --debug ...' shows where)"
        ) from error


def require_candidate(model: Any, base: LoadedModel, vocabulary: int) -> None:
    """What a method yielded can be scored beside its base.

    Raises:
        MethodError: it is no model, has another vocabulary, or is on another device.
    """
    if not callable(getattr(model, "get_output_embeddings", None)):
        raise MethodError(f"a method must return or yield a causal language model, not {type(model).__name__}")
    if model.device != base.device:
        raise MethodError(f"it is on {model.device}, but the run is on {base.device}; move it back")
    if vocabulary_size(model) != vocabulary:
        raise MethodError(f"a different architecture: {vocabulary_size(model)} output rows, the base has {vocabulary}")
