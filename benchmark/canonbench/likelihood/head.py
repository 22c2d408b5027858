"""From hidden states to log-probabilities, without ever holding all logits: log p = logit − logsumexp(logits)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Head = Literal["linear", "tail", "logits"]
"""How the output layer may be called. ``linear``: it is a plain linear layer whose output are the logits, so it can be
run on slices of the vocabulary. ``tail``: the model's own code from there on, on slices of rows. ``logits``: only the
whole model's logits are to be had."""

CPU_SLICE, GPU_SLICE = (512, 2048), (4096, 16_384)
"""Rows and vocabulary entries of a slice of logits. On the CPU 4 MB in float32: it stays in the cache between the
matrix product that makes it and the passes of logsumexp that read it."""


def log_probs_of(logits: Tensor, row: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities (S,) in float64 of ``target[s]`` under ``logits[row[s]]`` (R, V)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits[row, target].double() - logits.logsumexp(-1).double()[row]


def linear_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, row: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities (S,) in float64 of ``target[s]`` under the logits ``hidden[row[s]] @ weight.T + bias``.

    Args:
        hidden: (R, D).
        weight: (V, D).
        bias: (V,) or None.
        row: (S,) places in ``hidden``.
        target: (S,) token ids.
    """
    found = torch.empty(len(target), dtype=torch.float64, device=hidden.device)
    step, _ = _slice_of(hidden)
    for first in range(0, len(hidden), step):
        mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
        found[mine] = _slice_log_probs(hidden[first : first + step], weight, bias, row[mine] - first, target[mine])
    return found


def _slice_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, row: Tensor, target: Tensor) -> Tensor:
    """One slice of rows, the vocabulary in slices: Σ exp(logit − peak) is rescaled whenever a larger peak turns up."""
    _, step = _slice_of(hidden)
    firsts = range(0, len(weight), step)
    by_target = target.argsort()
    bounds = torch.searchsorted(target[by_target], torch.tensor([*firsts, len(weight)], device=target.device)).tolist()
    chosen = torch.empty(len(target), dtype=torch.float64, device=hidden.device)
    total = torch.zeros(len(hidden), 1, dtype=torch.float64, device=hidden.device)
    peak = total.new_full(total.shape, -torch.inf)
    for first, start, stop in zip(firsts, bounds[:-1], bounds[1:], strict=True):
        part = slice(first, first + step)
        logits = functional.linear(hidden, weight[part], None if bias is None else bias[part])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        mine = by_target[start:stop]
        chosen[mine] = logits[row[mine], target[mine] - first].double()
        higher = torch.maximum(peak, logits.amax(-1, keepdim=True))
        parts = logits.sub_(higher.to(logits.dtype)).exp_().sum(-1, keepdim=True)
        total = total * (peak - higher).exp() + parts
        peak = higher
    return chosen - (peak + total.log())[row, 0]


def _slice_of(hidden: Tensor) -> tuple[int, int]:
    return CPU_SLICE if hidden.device.type == "cpu" else GPU_SLICE
