"""The engine's face: exact log-likelihoods of continuations and of whole texts, for any causal LM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from canonbench.errors import CanonbenchError
from canonbench.likelihood.forward import log_probs
from canonbench.likelihood.pack import Pack, plan_batches
from canonbench.likelihood.tokens import Encoder, Request, check_lengths, origin
from canonbench.models.face import context_length, vocabulary_size

SCORER_VERSION = 1
"""Raised whenever a change here could move a log-probability: cached scores of older versions are then not used."""

AUTO_BATCH_TOKENS = {"cpu": 1024, "cuda": 16_384}


class LogLikelihood(NamedTuple):
    """The log-likelihood of one continuation, in nats."""

    sum: float
    tokens: npt.NDArray[np.float64]
    """(continuation tokens,)"""


def log_likelihoods(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_tokens: int | None = None,
    origins: Sequence[str] | None = None,
) -> list[LogLikelihood]:
    """log p(continuation | prefix) for (prefix, continuation) pairs, exact by PROTOCOL section 1.

    Args:
        model: a transformers causal LM in evaluation mode.
        tokenizer: its tokenizer.
        pairs: prefix and continuation are tokenised separately, then concatenated.
        batch_tokens: tokens that go through the model at once, padding included; None chooses by device.
        origins: where each pair comes from (``file:line``), for error messages.

    Returns:
        One result per pair, in order: the sum over the continuation's tokens, and each token's log-probability.

    Raises:
        CanonbenchError: a prefix or continuation has no tokens, a sequence exceeds the model's context,
            or a logit is NaN or infinite; the pair's origin is named.
    """
    requests = Encoder.of(tokenizer).pairs(pairs, origins)
    found: dict[int, npt.NDArray[np.float64]] = {}
    for pack in plan(model, requests, batch_tokens=batch_tokens, origins=origins):
        found.update(score(model, pack, origins))
    return [LogLikelihood(float(found[index].sum()), found[index]) for index in range(len(requests))]


def plan(
    model: Any, requests: Sequence[Request], *, batch_tokens: int | None = None, origins: Sequence[str] | None = None
) -> list[Pack]:
    """The packs that answer ``requests``: the same ones whenever the same is asked.

    Raises:
        CanonbenchError: a request exceeds the model's context or vocabulary; its origin is named.
    """
    check_lengths(requests, origins, context=context_length(model), vocabulary=vocabulary_size(model))
    return plan_batches(requests, batch_tokens or auto_batch_tokens(model))


def auto_batch_tokens(model: Any) -> int:
    """Tokens that go through a model at once when the caller does not say."""
    return AUTO_BATCH_TOKENS.get(model.device.type, 1024)


def score(
    model: Any, pack: Pack, origins: Sequence[str] | None = None
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Per request of a pack: the log-probabilities of its scored tokens, in nats.

    Raises:
        CanonbenchError: the model's logits are NaN or infinite; the request's origin is named.
    """
    values = log_probs(model, pack)
    bounds = np.flatnonzero(np.diff(pack.request)) + 1
    for request, own in zip(pack.request[np.concatenate([[0], bounds])], np.split(values, bounds), strict=True):
        if not np.isfinite(own).all():
            raise CanonbenchError(f"{origin(origins, int(request))}: the model's logits are NaN or infinite here")
        yield int(request), own
