"""Differentiable training losses: the task loss of log-likelihoods per token, and the KL divergence from the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from canonbench.editing.training.batches import Encoded, Padded, padded
from canonbench.likelihood import Request, log_probs_of
from canonbench.models import output_layer
from canonbench.scoring import task_loss

CPU_SLICE, GPU_SLICE = 2**20, 2**25
"""Logits per slice. On the CPU 4 MB in float32, which stays in the cache between passes over it."""


def logits_at(model: Any, batch: Padded, run: Callable[..., Any] | None = None) -> Tensor:
    """Compute logits (R, V) at the needed positions only, without running the output layer on the others.

    Includes the steps after the output layer (scale, soft-cap). ``run`` replaces the plain call of the model.
    """
    width = batch.ids.shape[1]
    seen = []

    def rows_of(hidden: Tensor) -> Tensor:
        # prompt tuning prepends virtual tokens: the last T positions are the batch's
        return hidden[:, -width:].flatten(0, 1).index_select(0, batch.rows)[None]

    def hook(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(True)
        return (rows_of(args[0]), *args[1:])

    handle = output_layer(model).register_forward_pre_hook(hook)
    try:
        logits = (run or model)(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    finally:
        handle.remove()
    found: Tensor = logits[0] if seen else rows_of(logits)[0]  # not seen if the model never calls that layer
    return found


def log_likelihoods(model: Any, requests: Sequence[Request]) -> list[Tensor]:
    """Return, per request, the log-probabilities (nats, float64, with gradients) of its tokens ``ids[start:]``."""
    batch = padded([(ids, range(start - 1, len(ids) - 1)) for ids, start in requests], model.device)
    target = torch.tensor([token for ids, start in requests for token in ids[start:]], device=model.device)
    every = torch.arange(len(target), device=model.device)
    found = log_probs_of(logits_at(model, batch), every, target)
    return list(torch.split(found, [len(ids) - start for ids, start in requests]))


def example_losses(model: Any, examples: Sequence[Encoded], loss: str) -> Tensor:
    """Compute the named task loss (nats) of each example, shape (n,), from mean log-likelihoods per token, as in
    training (docs/reference/protocol.md#2-tasks).

    All continuations share one forward pass.
    """
    requests = [request for example in examples for request in example]
    means = torch.stack([each.mean() for each in log_likelihoods(model, requests)])
    losses: Tensor = task_loss(loss, *means.view(len(examples), -1).unbind(1))
    return losses


def summed_kl(base_logits: Tensor, logits: Tensor) -> Tensor:
    """Compute Σ KL(p_0 ‖ p) in nats over rows (R, V) of logits of the base and of the model in training.

    Only ``logits`` get a gradient. ``base_logits`` are overwritten.
    """
    found: Tensor = _SummedKL.apply(logits, base_logits)  # type: ignore[no-untyped-call]
    return found


class _SummedKL(torch.autograd.Function):
    """KL with its gradient p − p_0 computed in the forward pass, slice by slice, in the memory of the base's logits.

    log_softmax and kl_div would write all V·R numbers again in each pass, a sixth of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, base_logits: Tensor) -> Tensor:
        gradient, wide = base_logits, torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=torch.float64, device=logits.device)
        step = max(1, (CPU_SLICE if logits.device.type == "cpu" else GPU_SLICE) // logits.shape[1])
        for first in range(0, len(logits), step):
            rows = slice(first, first + step)
            log_p, log_p_0 = (each[rows].to(wide).log_softmax(-1) for each in (logits, base_logits))
            p_0 = log_p_0.exp()
            total += torch.linalg.vecdot(p_0, log_p_0.sub_(log_p)).double().sum()
            gradient[rows] = log_p.exp_().sub_(p_0)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(outer[0].to(gradient.dtype)), None
