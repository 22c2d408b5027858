"""Training losses, with gradients: the task's, of log-likelihoods per token, and the divergence from the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from canonbench.editing.batches import Encoded, Padded, padded
from canonbench.likelihood.head import log_probs_of
from canonbench.likelihood.tokens import Request
from canonbench.models.face import output_layer
from canonbench.scoring import task_loss


def logits_at(model: Any, batch: Padded, run: Callable[..., Any] | None = None) -> Tensor:
    """Logits (R, V) at the wanted positions; the output layer is run on no other.

    Whatever the model does after its output layer (scale, soft-cap) is done. ``run`` calls the model, if not as it is.
    """
    width = batch.ids.shape[1]
    seen = []

    def rows_of(hidden: Tensor) -> Tensor:
        # prompt tuning puts virtual tokens in front: the last T positions are the batch's
        return hidden[:, -width:].flatten(0, 1).index_select(0, batch.rows)[None]

    def hook(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(True)
        return (rows_of(args[0]), *args[1:])

    handle = output_layer(model).register_forward_pre_hook(hook)
    try:
        logits = (run or model)(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    finally:
        handle.remove()
    found: Tensor = logits[0] if seen else rows_of(logits)[0]  # not seen: a model that never calls that layer
    return found


def log_likelihoods(model: Any, requests: Sequence[Request]) -> list[Tensor]:
    """Per request, the log-probabilities (nats, float64, with gradients) of its tokens ``ids[start:]``."""
    batch = padded([(ids, range(start - 1, len(ids) - 1)) for ids, start in requests], model.device)
    target = torch.tensor([token for ids, start in requests for token in ids[start:]], device=model.device)
    every = torch.arange(len(target), device=model.device)
    found = log_probs_of(logits_at(model, batch), every, target)
    return list(torch.split(found, [len(ids) - start for ids, start in requests]))


def example_losses(model: Any, examples: Sequence[Encoded], loss: str) -> Tensor:
    """The named task loss (nats) of each example, shape (n,): of means per token, as in training (PROTOCOL section 2).

    All continuations go through the model together.
    """
    requests = [request for example in examples for request in example]
    means = torch.stack([each.mean() for each in log_likelihoods(model, requests)])
    losses: Tensor = task_loss(loss, *means.view(len(examples), -1).unbind(1))
    return losses


def whole(chunks: Sequence[Request], device: torch.device) -> Padded:
    """Chunks of text as a batch, all of whose positions are wanted."""
    return padded([(ids, range(len(ids))) for ids, _ in chunks], device)


def summed_kl(base_logits: Tensor, logits: Tensor) -> Tensor:
    """Σ KL(p_0 ‖ p) in nats over rows (R, V) of logits of the base and of the model in training."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p_0, log_p = (each.to(wide).log_softmax(-1) for each in (base_logits, logits))
    return functional.kl_div(log_p, log_p_0, reduction="sum", log_target=True)
