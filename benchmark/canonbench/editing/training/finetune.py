"""The training loop of all finetuning methods (docs/reference/protocol.md#7-departures, #8-methods)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.batches import Chunks, Encoded, encode_canonical, grouped, shuffled_batches
from canonbench.editing.training.losses import example_losses
from canonbench.editing.training.regularizers import AdapterOff, Base, ChangesFrom, anywhere, make_regularizer
from canonbench.editing.training.settings import FinetuneSettings
from canonbench.editing.training.weights import Weights, training_only
from canonbench.errors import CanonbenchError
from canonbench.models import fast_products

S = TypeVar("S", bound=FinetuneSettings)
TOKENS = 4096
"""Largest number of tokens of canonical examples in one forward pass."""


def finetune(
    model: Any,
    tokenizer: Any,
    request: EditRequest[S],
    trained: Sequence[str],
    *,
    own: Sequence[str] | None = None,
    adapter_off: AdapterOff = nullcontext,
    changes_from: ChangesFrom = anywhere,
) -> Iterator[Any]:
    """Train the parameters named in ``trained`` in place, and yield ``model`` after each epoch.

    Each epoch takes the canonical examples in a new random order, in batches of ``batch_size``. A step on a batch of n
    examples minimises

        mean over the n examples of the task loss (of log-likelihoods per token)
        + weight · mean over n random chunks of R of Σ_t KL(p_0 ‖ p)          (or another regulariser)

    with Adam. This equals the published accumulation over n = 5 micro-batches of one example and one chunk each; the
    gradients are divided by n, a scale that Adam's steps do not depend on. With ``accumulation: released`` only the
    last of the n micro-batches counts, and an incomplete last batch is skipped, as in the released code.

    The model is always in evaluation mode. All randomness comes from ``request.seed``: the same seed, device and base
    give the same weights.

    Args:
        model: a causal LM, or one with an adapter on it.
        tokenizer: its tokenizer.
        request: the examples to learn and the settings.
        trained: names as in ``model.named_parameters()``; all other parameters stay unchanged.
        own: the trained parameters that belong to the base and not to an adapter; None for all.
        adapter_off: a context in which the model runs without the trained adapter, if there is one.
        changes_from: returns the first position of a sequence where training may change an output; earlier outputs are
            not compared with the base's.

    Raises:
        CanonbenchError: the examples or R cannot be used with this model, the regulariser needs R and there is no R,
            or the training loss becomes NaN or infinite.
    """
    settings = request.hyperparameters
    examples = encode_canonical(model, tokenizer, request)
    order, text = (np.random.default_rng(child) for child in np.random.SeedSequence(request.seed).spawn(2))
    per_epoch = _steps_per_epoch(len(examples), request)
    with training_only(model, trained):
        weights = Weights(model, trained)
        chunks = partial(Chunks, model, tokenizer, request.regularization, text)
        with _kernels(model):
            regularize = make_regularizer(
                settings,
                model,
                weights,
                lambda: Base(weights.copies(trained if own is None else own), adapter_off),
                chunks,
                changes_from,
            )
        optimizer = weights.adam(settings.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
        steps = per_epoch * settings.epochs
        for epoch in range(settings.epochs):
            batches = list(shuffled_batches(examples, settings.batch_size, order))[:per_epoch]
            for number, batch in enumerate(batches, start=1):
                counted = batch[-1:] if settings.accumulation == "released" else batch
                with _kernels(model):
                    loss = _task_gradient(model, weights, counted, request.loss) + regularize(len(counted))
                if not math.isfinite(loss):
                    raise CanonbenchError(
                        f"task {request.task}, epoch {epoch + 1}: the training loss is {loss}; "
                        f"try a learning rate below lr={settings.lr:g}"
                    )
                weights.step(optimizer)
                request.report(epoch * per_epoch + number, steps, loss)
            schedule.step()
            yield model


def _steps_per_epoch(count: int, request: EditRequest[S]) -> int:
    """Return the number of batches per epoch that count. CanonbenchError if it is zero."""
    settings = request.hyperparameters
    if settings.accumulation == "all":
        return math.ceil(count / settings.batch_size)
    if count < settings.batch_size:
        raise CanonbenchError(
            f"task {request.task}: {count} canonical examples fill no batch of {settings.batch_size}, and with "
            "accumulation=released only full ones count; set a smaller batch_size"
        )
    return count // settings.batch_size


def _task_gradient(model: Any, weights: Weights, examples: Sequence[Encoded], loss: str) -> float:
    """Add the gradient of the mean task loss to the weights' gradients, and return the loss (nats)."""
    total = 0.0
    for group in grouped(examples, lambda example: [len(ids) for ids, _ in example], TOKENS):
        part = example_losses(model, group, loss).sum() / len(examples)
        part.backward()  # type: ignore[no-untyped-call]
        weights.collect()
        total += part.item()
    return total


def _kernels(model: Any) -> AbstractContextManager[Any]:
    """Choose kernels: on a GPU the math attention, since the fused kernels' backward pass is not deterministic.

    On a CPU, the faster matrix products.
    """
    return sdpa_kernel(SDPBackend.MATH) if model.device.type == "cuda" else fast_products(model.device)
