"""The contract between canonbench and an editing method.

    def edit(model, tokenizer, request: EditRequest[Settings]) -> model | Iterator[model]

A method receives a causal LM in evaluation mode, its tokenizer, and a request. It returns one edited model, or yields a
candidate after each epoch; it may yield the same object, changed in place, every time. It never sees evaluation data,
hard negatives or the general text that decides the leagues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from canonbench.suite import Example

H = TypeVar("H")
Report = Callable[[int, int, float], None]
"""Progress callback: optimiser steps done, optimiser steps in total, and the training loss of the last step."""


def no_report(_step: int, _steps: int, _loss: float) -> None:
    """Ignore the report."""


@runtime_checkable
class ChecksModel(Protocol):
    """Hyperparameters that can reject an unsuitable model before time is spent on scoring it."""

    def check_model(self, model: Any) -> None:
        """Raise CanonbenchError if the method cannot edit this model."""


@dataclass(frozen=True)
class EditRequest(Generic[H]):
    """The request to a method: everything it may know about the edit."""

    task: str
    """The task's name."""
    loss: str
    """Name of the task's loss, see ``canonbench.scoring.LOSSES``; training applies it to log-likelihoods per token."""
    canonical: Sequence[Example]
    """The canonical examples: simple ones, one or several per behaviour."""
    regularization: Sequence[str]
    """General text R (docs/reference/protocol.md#4-leagues); empty if the suite has none. Leagues are decided on other
    text."""
    seed: int
    """Random seed for everything that the method does."""
    hyperparameters: H
    """An instance of the dataclass in the method's annotation ``EditRequest[Settings]``; without one, a mapping."""
    report: Report = no_report
    """Call after each optimiser step to report progress."""


Edited = Any | Iterator[Any]
Edit = Callable[[Any, Any, EditRequest[Any]], Edited]
"""(model, tokenizer, request) → an edited model, or an iterator over candidates."""
