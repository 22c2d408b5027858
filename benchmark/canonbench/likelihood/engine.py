"""Score continuations and whole texts with any causal LM: plan packs, run them, and return exact log-likelihoods.

The file also estimates the cost of a run before it starts, and scores an ensemble under several β in one forward pass
of its three models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from canonbench.errors import CanonbenchError
from canonbench.likelihood.forward import (
    TAIL_LOGITS,
    ForwardContext,
    Head,
    hidden_rows,
    log_probs,
    log_probs_of,
    without,
)
from canonbench.likelihood.packs import Pack, plan_packs
from canonbench.likelihood.route import layout, route
from canonbench.likelihood.tokens import Encoder, Request, check_lengths, origin
from canonbench.models import (
    context_length,
    fast_products,
    mixed,
    output_layer,
    readable_ids,
    text_config,
    vocabulary_size,
)

SCORER_VERSION = 5
"""Increased whenever a change could move a log-probability; cached scores of older versions are not used."""
AUTO_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
"""Default tokens per batch, by device type. On the CPU, 512 tokens keep the matrix products busy while their
activations stay in the cache."""
Compute = Callable[[Any, Pack, Head, ForwardContext], npt.NDArray[np.float64]]
"""A function with the signature of ``log_probs``: returns the log-probabilities (S, ...) of a pack's scored tokens."""
_FITS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""Maps a model to the largest batch (tokens) to try, recorded after a larger one ran out of memory."""


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
    """Compute log p(continuation | prefix) for (prefix, continuation) pairs, exactly as defined in
    docs/reference/protocol.md#1-log-likelihood.

    Args:
        model: a transformers causal LM in evaluation mode.
        tokenizer: its tokenizer.
        pairs: prefix and continuation are tokenised separately, then concatenated.
        batch_tokens: tokens per forward pass, padding included; None chooses by device.
        origins: where each pair comes from (``file:line``), for error messages.

    Returns:
        One result per pair, in order: the sum over the continuation's tokens and each token's log-probability, in nats.

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
    """Plan the packs that answer ``requests``. The same requests and architecture always give the same packs.

    Raises:
        CanonbenchError: a request exceeds the model's context or vocabulary; its origin is named.
    """
    if not requests:
        return []
    check_lengths(requests, origins, context=context_length(model), vocabulary=readable_ids(model))
    longest = max(len(request.ids) for request in requests)
    return plan_packs(requests, batch_tokens or auto_batch_tokens(model), layout(model, longest))


def auto_batch_tokens(model: Any) -> int:
    """Return the default number of tokens per forward pass for the model's device."""
    return AUTO_BATCH_TOKENS.get(model.device.type, AUTO_BATCH_TOKENS["cuda"])


def score(
    model: Any,
    pack: Pack,
    origins: Sequence[str] | None = None,
    *,
    during: ForwardContext = without,
    compute: Compute = log_probs,
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield, for each request of a pack, its index and the log-probabilities of its scored tokens in nats.

    A pack that does not fit GPU memory is split in halves, and so is every later pack of its size.

    Args:
        model: the model that the pack was planned for, or an edited copy.
        pack: a pack returned by ``plan``.
        origins: where each request comes from, for error messages.
        during: makes the context in which the model's body runs a pack; ``Reuse.running`` uses it to store and
            restore hidden states.
        compute: computes the values of a pack; replace it to get more than one log-probability per scored token.

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
    model: Any, pack: Pack, during: ForwardContext, compute: Compute
) -> Iterator[tuple[Pack, npt.NDArray[np.float64]]]:
    """Yield the pack, or the parts of it that fit into memory, each with its values."""
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


def _try(model: Any, part: Pack, during: ForwardContext, compute: Compute) -> npt.NDArray[np.float64] | None:
    """Compute the values of a pack; None if the GPU ran out of memory, which is recorded in ``_FITS``."""
    head = route(model).head
    try:
        return compute(model, part, head, during)
    except torch.cuda.OutOfMemoryError:
        _FITS[model] = part.ids.size // 2
    torch.cuda.empty_cache()  # outside the handler, because its traceback keeps the tensors alive
    return None


ACTIVATIONS = 12
"""Number of tensors of the size of the hidden states that are alive at once inside a block: the residual stream, its
norm, queries, keys and values with their rotated copies, and the output. The wider tensors of the MLP are counted
separately, by their width."""


class Estimate(NamedTuple):
    """The estimated cost of scoring some packs."""

    tokens: int
    """Input tokens without padding; a shared prefix counts once per piece."""
    flops: int
    """FLOPs of the matrix products, padding included; each expert of a mixture counts as if it saw every token."""
    bytes: int
    """Peak memory: the weights plus the activations of the largest pack."""


def estimate(model: Any, packs: Sequence[Pack]) -> Estimate:
    """Estimate tokens, FLOPs and bytes of ``packs`` from shapes alone, without running the model."""
    config = text_config(model)
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    head = sum(parameter.numel() for parameter in output_layer(model).parameters())
    body = _body_weights(model)
    flops = 0
    largest = 0
    for pack in packs:
        rows, width = pack.ids.shape
        flops += 2 * body * rows * width + 4 * hidden * layers * rows * width**2 + 2 * head * len(pack.rows)
        wide = getattr(config, "intermediate_size", None) or 4 * hidden
        largest = max(largest, rows * width * (ACTIVATIONS * hidden + 3 * wide) + rows * width**2)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return Estimate(sum(pack.n_tokens for pack in packs), flops, weights + largest * model.dtype.itemsize)


def _body_weights(model: Any) -> int:
    """Count the entries of the matrices that every token is multiplied with: all but embeddings and output layer."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    apart = {id(parameter) for table in (*tables, output_layer(model)) for parameter in table.parameters()}
    return sum(own.numel() for own in model.parameters() if own.ndim > 1 and id(own) not in apart)


def under(betas: Sequence[float]) -> Compute:
    """Make a ``compute`` for ``score`` that scores an Ensemble under several β at once.

    It returns log-probabilities (S, len(betas)) in nats, one column per β. They are bit-identical to those of separate
    ensembles with these β, because the same sum is normalised.
    """

    @torch.inference_mode()
    def compute(model: Any, pack: Pack, _head: Head, during: Any) -> npt.NDArray[np.float64]:
        row, target = (torch.from_numpy(each).to(model.device) for each in (pack.row, pack.target))
        found = torch.empty(len(target), len(betas), dtype=torch.float64, device=model.device)
        step = max(1, TAIL_LOGITS // vocabulary_size(model))
        with fast_products(model.device):
            with during(model, pack):
                hidden = hidden_rows(model, pack)
            for first in range(0, len(hidden), step):
                mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
                terms = model.head.terms(hidden[None, first : first + step])
                for column, beta in enumerate(betas):
                    logits = mixed(terms, beta)[0]
                    found[mine, column] = log_probs_of(logits, row[mine] - first, target[mine])
        result: npt.NDArray[np.float64] = found.cpu().numpy()
        return result

    return compute
