"""The four task losses (docs/reference/protocol.md#2-tasks), written once for evaluation and for training.

Each is plain arithmetic on log-probabilities in nats, so floats, numpy arrays and torch tensors (with gradients)
all go through the same line. Evaluation passes sums over the continuation's tokens; training passes means per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from canonbench.errors import UsageError, unknown_name


class LogProbability(Protocol):
    """What a loss asks of its argument; a float, a numpy array and a torch tensor can do it."""

    def __neg__(self) -> Any: ...  # noqa: D105
    def __abs__(self) -> Any: ...  # noqa: D105
    def __sub__(self, other: Any, /) -> Any: ...  # noqa: D105


T = TypeVar("T", bound=LogProbability)


def nll(log_p_a: T) -> T:
    """−log p(y^A|x): the right answer should be likely."""
    negated: T = -log_p_a
    return negated


def likelihood(log_p_a: T) -> T:
    """log p(y^A|x), y^A the stereotype: it should be unlikely."""
    return log_p_a


def balance(log_p_a: T, log_p_b: T) -> T:
    """|log p(y^A|x) − log p(y^B|x)|: the two continuations should be equally likely."""
    distance: T = abs(log_p_a - log_p_b)
    return distance


def preference(log_p_a: T, log_p_b: T) -> T:
    """log p(y^B|x) − log p(y^A|x), y^A the right form: it should be the likelier of the two."""
    advantage: T = log_p_b - log_p_a
    return advantage


@dataclass(frozen=True)
class Loss:
    """A task loss: its name, how many continuations it compares (1 or 2), the arithmetic, and the words for it."""

    name: str
    arity: int
    function: Callable[..., Any]
    doc: str


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("nll", 1, nll, "−log p of the answer"),
        Loss("likelihood", 1, likelihood, "log p of the stereotype"),
        Loss("balance", 2, balance, "|log p of the one − log p of the other|"),
        Loss("preference", 2, preference, "log p of the wrong form − log p of the right form"),
    )
}


def loss(name: str) -> Loss:
    """The loss of that name; UsageError with a "did you mean" otherwise."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]


def task_loss(name: str, log_p_a: T, log_p_b: T | None = None) -> T:
    """The named loss of one or two log-probabilities (nats), elementwise, in the type that came in.

    ``log_p_b`` is None for the losses of one continuation. UsageError if the loss is unknown, if it compares two
    continuations and only one came, or the other way round.
    """
    found = loss(name)
    if found.arity == 2 and log_p_b is None:
        raise UsageError(f"loss {name!r} compares two continuations, but only the first log-probability was given")
    if found.arity == 1 and log_p_b is not None:
        raise UsageError(f"loss {name!r} takes one continuation, but two log-probabilities were given")
    result: T = found.function(log_p_a) if log_p_b is None else found.function(log_p_a, log_p_b)
    return result
