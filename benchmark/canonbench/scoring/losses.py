"""The four task losses (docs/reference/protocol.md#2-tasks), shared by evaluation and training, and their averages.

Each loss is plain arithmetic on log-probabilities in nats, so the same code takes floats, numpy arrays and torch
tensors (with gradients). Evaluation passes sums over the continuation's tokens; training passes means per token.
Success rates and means refuse non-finite values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canonbench.errors import CanonbenchError, UsageError, unknown_name


class LogProbability(Protocol):
    """The operations that a loss needs; floats, numpy arrays and torch tensors have them."""

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
    """A task loss: its name, number of continuations (1 or 2), function, and description."""

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
    """Return the loss called ``name``; UsageError with a "did you mean" if there is none."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]


def task_loss(name: str, log_p_a: T, log_p_b: T | None = None) -> T:
    """Compute the named loss of one or two log-probabilities (nats), elementwise, in the type of the arguments.

    ``log_p_b`` is None for losses of one continuation.

    Raises:
        UsageError: the loss is unknown, or takes a different number of continuations.
    """
    found = loss(name)
    if found.arity == 2 and log_p_b is None:
        raise UsageError(f"loss {name!r} compares two continuations, but only the first log-probability was given")
    if found.arity == 1 and log_p_b is not None:
        raise UsageError(f"loss {name!r} takes one continuation, but two log-probabilities were given")
    result: T = found.function(log_p_a) if log_p_b is None else found.function(log_p_a, log_p_b)
    return result


def require_finite(values: ArrayLike, what: str, rows: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return ``values`` as a non-empty float64 vector.

    An infinite loss is refused like a NaN: finite logits cannot give probability zero, so both mean a broken model.
    The message names rows by ``rows`` (their numbers in the file), or by position if that is None.

    Raises:
        CanonbenchError: there are no values, or one is NaN or infinite.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.size == 0:
        raise CanonbenchError(f"{what}: there is no row to average")
    bad = np.flatnonzero(~np.isfinite(vector))
    if bad.size:
        names = bad if rows is None else np.asarray(rows)[bad]
        shown = ", ".join(f"{row} ({vector[i]})" for row, i in zip(names[:5], bad[:5], strict=True))
        more = f" and {bad.size - 5} more" if bad.size > 5 else ""
        raise CanonbenchError(f"{what}: not finite in row {shown}{more}; check the model's weights and logits")
    return vector


def successes(losses: ArrayLike, threshold: float, *, what: str = "losses") -> NDArray[np.bool_]:
    """Return which losses (n,) succeed: L <= δ, both in nats (docs/reference/protocol.md#2-tasks)."""
    return np.asarray(require_finite(losses, what) <= threshold)


def success_rate(losses: ArrayLike, threshold: float, *, what: str = "losses") -> float:
    """Return the percentage of losses (n,) that are at most ``threshold``."""
    return 100.0 * float(np.mean(successes(losses, threshold, what=what)))


def mean_loss(losses: ArrayLike, *, what: str = "losses") -> float:
    """Return the mean of the losses (n,) in nats, with an exactly rounded sum.

    This is the number reported for hard negatives (docs/reference/protocol.md#3-hard-negatives).
    """
    vector = require_finite(losses, what)
    return math.fsum(vector) / vector.size
