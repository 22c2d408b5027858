"""What holds a model in training to its base: KL on general text, L2, elastic weight consolidation.

A regulariser is a function that adds the gradient of its term to the weights' and returns the term's value.
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
"""Logits that one forward makes at most (128 and 512 MB in float32), unless a single chunk has more. The GPU's are five
chunks of 500 tokens at a vocabulary of 50,000."""
Regularizer = Callable[[int], float]
"""Given the number of canonical examples in the step: adds its gradient, returns its term of the training loss."""
ChangesFrom = Callable[[Sequence[int]], int]
"""The first place of a sequence of token ids where training may change an output; their number if nowhere."""
AdapterOff = Callable[[], AbstractContextManager[None]]
"""A context in which the model runs without the adapter that trains; it does nothing where none does."""


class Base(NamedTuple):
    """What makes a model in training its base again, so that no second model is held in memory."""

    tensors: dict[str, Tensor]
    """As they were before training: those of the tensors that train which are the base's own."""
    adapter_off: AdapterOff


def anywhere(_ids: Sequence[int]) -> int:
    """The ChangesFrom of most methods."""
    return 0


def make_regularizer(
    settings: FinetuneSettings,
    model: Any,
    weights: Weights,
    base: Callable[[], Base],
    chunks: Callable[[], Chunks],
    changes_from: ChangesFrom,
) -> Regularizer:
    """The regulariser that the settings ask for, made while the weights are still the base's.

    Args:
        settings: which one, and its weight.
        model: the model in training.
        weights: the tensors that train.
        base: what makes the model its base again; like ``chunks`` only asked for where it is needed.
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
    """weight · mean over the step's chunks of Σ_t KL(p_0 ‖ p), one random chunk for each canonical example.

    The sum runs over all T tokens of a chunk, as published: over the distributions of what follows each of them. So
    ``weight`` is some hundred times what a weight per token would be. Outputs that cannot differ add nothing to it and
    are not made: in each chunk, those before ``changes_from``.
    """
    most = (CPU_LOGITS if model.device.type == "cpu" else GPU_LOGITS) // vocabulary_size(model)

    def add(count: int) -> float:
        total = 0.0
        # by length, so that little is padded
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
    """The base's logits (R, V) at the wanted positions of a batch, without gradient."""

    def run(**inputs: Any) -> Any:
        return functional_call(model, base.tensors, (), inputs) if base.tensors else model(**inputs)

    with base.adapter_off():
        return logits_at(model, batch, run)


def quadratic(weights: Weights, weight: float, importance: Mapping[str, Tensor] | None = None) -> Regularizer:
    """weight · Σ F·(θ − θ_0)² over the tensors that train, θ_0 being what they were at the start; F = 1 if not given.

    An adapter's parameters are held to their start like any other. (Of a LoRA, ewc holds only the factor that starts at
    zero: as long as that is zero the other has no gradient, so no importance.)
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
    """The diagonal of the empirical Fisher information: mean over chunks of the squared gradient of −log p(chunk).

    −log p(chunk) is a sum over tokens, like the KL term: to second order a divergence from the base of weight w is
    this quadratic form (without what lies off the diagonal) of weight w/2.
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
