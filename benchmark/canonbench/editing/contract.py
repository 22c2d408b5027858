"""The contract between canonbench and an editing method.

    def edit(model, tokenizer, request: EditRequest[Settings]) -> model | Iterator[model]

A method gets a causal LM in evaluation mode, its tokenizer, and a request. It returns one edited model, or yields a
candidate after each epoch; the same object, changed in place, may be yielded again and again. It never sees evaluation
data, hard negatives or the general text that leagues are measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from canonbench.suite import Example

H = TypeVar("H")
Report = Callable[[int, int, float], None]
"""Told the optimiser steps done, those there will be, and the training loss of the last one."""


def no_report(_step: int, _steps: int, _loss: float) -> None:
    """The Report that nobody listens to."""


@runtime_checkable
class ChecksModel(Protocol):
    """Hyperparameters that can tell a model that their method is not for, before time is spent on scoring it."""

    def check_model(self, model: Any) -> None:
        """CanonbenchError if the method is not for this model."""


@dataclass(frozen=True)
class EditRequest(Generic[H]):
    """All that a method may know of what is asked of it."""

    task: str
    """The task's name."""
    loss: str
    """The task's loss by name, see ``canonbench.scoring.LOSSES``; training takes it of log-likelihoods per token."""
    canonical: Sequence[Example]
    """The simple examples, one or several per behaviour."""
    regularization: Sequence[str]
    """General text R (docs/reference/protocol.md#4-leagues); empty where the suite has none. Leagues are measured on
    other text."""
    seed: int
    """Of everything random that a method does."""
    hyperparameters: H
    """An instance of the dataclass that the method's annotation names, ``EditRequest[Settings]``; else a mapping."""
    report: Report = no_report
    """Call it after each step: people are watching."""


Edited = Any | Iterator[Any]
Edit = Callable[[Any, Any, EditRequest[Any]], Edited]
"""(model, tokenizer, request) → an edited model, or an iterator over candidates."""
