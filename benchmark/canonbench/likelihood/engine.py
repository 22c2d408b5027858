"""The engine's face: exact log-likelihoods of continuations and of whole texts, for any causal LM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from canonbench.errors import CanonbenchError
from canonbench.likelihood.forward import Surrounding, log_probs, without
from canonbench.likelihood.head import Head
from canonbench.likelihood.pack import Pack
from canonbench.likelihood.plan import plan_packs
from canonbench.likelihood.route import layout, route
from canonbench.likelihood.tokens import Encoder, Request, check_lengths, origin
from canonbench.models.face import context_length, readable_ids

SCORER_VERSION = 5
"""Raised whenever a change here could move a log-probability: cached scores of older versions are then not used."""

AUTO_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
"""On the CPU, 512 tokens fill the matrix products and their activations stay in the cache."""

Compute = Callable[[Any, Pack, Head, Surrounding], npt.NDArray[np.float64]]
"""From a model and a pack to the log-probabilities (S, ...) of its scored tokens, as ``log_probs``."""

_FITS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""Tokens of the largest batch that a model still has memory for, where a larger one had not."""


class NotFinite(CanonbenchError):
    """The model's logits are NaN or infinite."""


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
    """log p(continuation | prefix) for (prefix, continuation) pairs, exact by
    docs/reference/protocol.md#1-log-likelihood.

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
    """The packs that answer ``requests``: the same ones whenever the same is asked of the same architecture.

    Raises:
        CanonbenchError: a request exceeds the model's context or vocabulary; its origin is named.
    """
    if not requests:
        return []
    check_lengths(requests, origins, context=context_length(model), vocabulary=readable_ids(model))
    longest = max(len(request.ids) for request in requests)
    return plan_packs(requests, batch_tokens or auto_batch_tokens(model), layout(model, longest))


def auto_batch_tokens(model: Any) -> int:
    """Tokens that go through a model at once when the caller does not say."""
    return AUTO_BATCH_TOKENS.get(model.device.type, AUTO_BATCH_TOKENS["cuda"])


def score(
    model: Any,
    pack: Pack,
    origins: Sequence[str] | None = None,
    *,
    during: Surrounding = without,
    compute: Compute = log_probs,
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Per request of a pack: the log-probabilities of its scored tokens, in nats.

    A pack that the GPU has no memory for is run in halves, and so is every later one of its size.

    Args:
        model: the model that the pack was planned for, or an edited copy.
        pack: one of ``plan``'s.
        origins: where each request comes from, for error messages.
        during: makes the context in which the model's body runs a pack (``rescore`` listens in, and takes over).
        compute: what is computed of the pack, if it is more than one log-probability per scored token.

    Raises:
        NotFinite: the model's logits are NaN or infinite; the request's origin is named.
        CanonbenchError: a single row does not fit the GPU.
    """
    for part, values in _run(model, pack, during, compute):
        for request, own in part.answers(values):
            if not np.isfinite(own).all():
                raise NotFinite(f"{origin(origins, request)}: the model's logits are NaN or infinite here")
            yield request, own


def _run(
    model: Any, pack: Pack, during: Surrounding, compute: Compute
) -> Iterator[tuple[Pack, npt.NDArray[np.float64]]]:
    """The pack, or parts of it that fit into memory, with their values."""
    waiting = [pack]
    while waiting:
        part = waiting.pop(0)
        fits = len(part.ids) == 1 or part.ids.size <= _FITS.get(model, part.ids.size)
        values = _try(model, part, during, compute) if fits else None
        if values is not None:
            yield part, values
        elif len(part.ids) > 1:
            waiting[:0] = part.halves()
        else:
            raise CanonbenchError(
                f"the GPU has no memory for one row of {part.ids.size} tokens; "
                "try a smaller --batch-tokens, --dtype bfloat16 or --device cpu"
            )


def _try(model: Any, part: Pack, during: Surrounding, compute: Compute) -> npt.NDArray[np.float64] | None:
    """The values of a pack; None if the GPU ran out of memory, which is remembered."""
    head = route(model).head
    try:
        return compute(model, part, head, during)
    except torch.cuda.OutOfMemoryError:
        _FITS[model] = part.ids.size // 2
    torch.cuda.empty_cache()  # outside the handler, whose traceback holds on to the tensors
    return None
