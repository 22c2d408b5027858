"""Regularisers that keep a model in training close to its base: KL on general text, L2, elastic weight consolidation.

A regulariser is a function that adds the gradient of its term to the weights' gradients and returns the term's value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from canonbench.editing.training.batches import Chunks, Padded, grouped, padded
from canonbench.editing.training.losses import log_likelihoods, logits_at, summed_kl
from canonbench.editing.training.settings import FinetuneSettings
from canonbench.editing.training.weights import Weights, add_gradient
from canonbench.likelihood import Request
from canonbench.models import vocabulary_size

CPU_LOGITS, GPU_LOGITS = 2**25, 2**27
"""Largest number of logits per forward pass (128 and 512 MB in float32), unless a single chunk has more. The GPU's
limit is five chunks of 500 tokens at a vocabulary of 50,000."""
Regularizer = Callable[[int], float]
"""Takes the number of canonical examples in the step, adds its gradient, and returns its term of the training loss."""
ChangesFrom = Callable[[Sequence[int]], int]
"""Returns the first position in a sequence of token ids where training may change an output; its length if none."""
AdapterOff = Callable[[], AbstractContextManager[None]]
"""A context in which the model runs without the trained adapter; without an adapter it does nothing."""


class Base(NamedTuple):
    """What is needed to turn a model in training back into its base, so that memory holds only one model."""

    tensors: dict[str, Tensor]
    """The values before training of the trained tensors that belong to the base."""
    adapter_off: AdapterOff


def anywhere(_ids: Sequence[int]) -> int:
    """Return 0: most methods may change any output."""
    return 0


def make_regularizer(
    settings: FinetuneSettings,
    model: Any,
    weights: Weights,
    base: Callable[[], Base],
    chunks: Callable[[], Chunks],
    changes_from: ChangesFrom,
) -> Regularizer:
    """Create the regulariser that the settings name. Call it while the weights are still the base's.

    Args:
        settings: the kind of regulariser and its weight.
        model: the model in training.
        weights: the tensors to train.
        base: returns what turns the model back into its base; like ``chunks``, called only if needed.
        chunks: regularisation text.
        changes_from: see ``kl``.
    """
    weight = settings.regularizer_weight
    match settings.regularizer:
        case "kl":
            return kl(model, weights, base(), chunks(), weight, changes_from)
        case "l2":
            return quadratic(weights, weight)
        case "ewc":
            return quadratic(weights, weight, fisher(model, weights, chunks().draw_distinct(settings.fisher_chunks)))
        case "none":
            return lambda _count: 0.0


def kl(
    model: Any, weights: Weights, base: Base, chunks: Chunks, weight: float, changes_from: ChangesFrom = anywhere
) -> Regularizer:
    """KL regulariser: weight · mean over the step's chunks of Σ_t KL(p_0 ‖ p), with one random chunk per example.

    As published, the sum runs over the next-token distributions at all T tokens of a chunk, so ``weight`` acts like a
    weight per token some hundred times as large. Outputs before ``changes_from`` cannot differ and are not computed.
    """
    most = (CPU_LOGITS if model.device.type == "cpu" else GPU_LOGITS) // vocabulary_size(model)

    def add(count: int) -> float:
        total = 0.0
        # sorted by length to reduce padding
        drawn = sorted(chunks.draw(count), key=lambda chunk: len(chunk.ids))
        compared = [(ids, range(changes_from(ids), len(ids))) for ids, _ in drawn]
        for group in grouped([each for each in compared if each[1]], lambda each: [len(each[0])], most):
            batch = padded(group, model.device)
            divergence = weight / count * summed_kl(base_logits(model, base, batch), logits_at(model, batch))
            divergence.backward()  # type: ignore[no-untyped-call]
            weights.collect()
            total += divergence.item()
        return total

    return add


@torch.no_grad()
def base_logits(model: Any, base: Base, batch: Padded) -> Tensor:
    """Compute the base's logits (R, V) at the needed positions of a batch, without gradient."""

    def run(**inputs: Any) -> Any:
        return functional_call(model, base.tensors, (), inputs) if base.tensors else model(**inputs)

    with base.adapter_off():
        return logits_at(model, batch, run)


def quadratic(weights: Weights, weight: float, importance: Mapping[str, Tensor] | None = None) -> Regularizer:
    """Quadratic regulariser: weight · Σ F·(θ − θ_0)² over the trained tensors, with θ_0 their values at the start.

    F is ``importance``, or 1 if not given. It applies to an adapter's parameters too. (For a LoRA, ewc affects only
    the factor that starts at zero: while that is zero the other has no gradient, and so no importance.)
    """
    start = weights.copies(weights.live)

    @torch.no_grad()
    def add(_count: int) -> float:
        total = 0.0
        for name, master in weights.masters.items():
            away = master - start[name]
            pull = away if importance is None else away * importance[name]
            total += weight * torch.vdot(away.flatten(), pull.flatten()).item()
            add_gradient(master, 2 * weight * pull)
        return total

    return add


def fisher(model: Any, weights: Weights, chunks: Sequence[Request]) -> dict[str, Tensor]:
    """Estimate the diagonal of the empirical Fisher information: mean over chunks of the squared gradient of the NLL.

    The NLL −log p(chunk) is a sum over tokens, like the KL term: to second order, a KL term of weight w equals this
    quadratic form of weight w/2, apart from the off-diagonal entries.
    """
    squares = {name: torch.zeros_like(master) for name, master in weights.masters.items()}
    for chunk in chunks:
        (log_p,) = log_likelihoods(model, [chunk])
        log_p.sum().backward()  # type: ignore[no-untyped-call]
        weights.collect()
        for name, master in weights.masters.items():
            if master.grad is not None:
                squares[name] += master.grad.square() / len(chunks)
                master.grad = None
    return squares
