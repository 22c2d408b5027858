"""Run the forward pass of one pack and turn hidden states into log-probabilities.

The body runs once and the output layer only at scored positions, in slices, so the logits of all positions are never
held in memory at once: log p = logit − logsumexp(logits).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from canonbench.likelihood.packs import Pack
from canonbench.models import before_output_layer, fast_products, output_layer, vocabulary_size

Head = Literal["linear", "tail", "logits"]
"""How the output layer may be called. ``linear``: a plain linear layer whose outputs are the logits, so it can run on
slices of the vocabulary. ``tail``: the model's own code from the output layer on, on slices of rows. ``logits``: only
the whole model's logits are available."""
CPU_SLICE, GPU_SLICE = (512, 2048), (4096, 16_384)
"""Rows and vocabulary entries of a slice of logits. On the CPU a slice is 4 MB in float32, so it stays in the cache
between the matrix product that makes it and the passes of logsumexp that read it."""


def log_probs_of(logits: Tensor, row: Tensor, target: Tensor) -> Tensor:
    """Return the log-probabilities (S,), in nats and float64, of ``target[s]`` under ``logits[row[s]]`` (R, V)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits[row, target].double() - logits.logsumexp(-1).double()[row]


def linear_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, row: Tensor, target: Tensor) -> Tensor:
    """Return the log-probabilities (S,), in nats and float64, of ``target[s]``.

    The logits are ``hidden[row[s]] @ weight.T + bias``.

    Args:
        hidden: (R, D).
        weight: (V, D).
        bias: (V,) or None.
        row: (S,) indices into ``hidden``.
        target: (S,) token ids.
    """
    found = torch.empty(len(target), dtype=torch.float64, device=hidden.device)
    step, _ = _slice_of(hidden)
    for first in range(0, len(hidden), step):
        mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
        found[mine] = _slice_log_probs(hidden[first : first + step], weight, bias, row[mine] - first, target[mine])
    return found


def _slice_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, row: Tensor, target: Tensor) -> Tensor:
    """Compute one slice of rows with the vocabulary in slices.

    Σ exp(logit − peak) is rescaled whenever a larger peak appears.
    """
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


ForwardContext = Callable[[Any, Pack], AbstractContextManager[None]]
"""Makes, from a model and a pack, the context that the model's body runs in."""
TAIL_LOGITS = 2**24
"""Most logits computed at once when the model's own code computes them (64 MB in float32)."""


def without(_model: Any, _pack: Pack) -> AbstractContextManager[None]:
    """A ``ForwardContext`` that does nothing."""
    return nullcontext()


@torch.inference_mode()
def log_probs(model: Any, pack: Pack, head: Head, during: ForwardContext = without) -> npt.NDArray[np.float64]:
    """Return the log-probability in nats of every scored token of a pack, shape (S,).

    Args:
        model: the causal LM.
        pack: the packed batch to run.
        head: how the model's output layer may be called, see ``Head``.
        during: makes the context in which the model's body runs.
    """
    with fast_products(model.device):
        found = _log_probs(model, pack, head, during)
    result: npt.NDArray[np.float64] = found.cpu().numpy()
    return result


def _log_probs(model: Any, pack: Pack, head: Head, during: ForwardContext) -> Tensor:
    row = torch.from_numpy(pack.row).to(model.device)
    target = torch.from_numpy(pack.target).to(model.device)
    if head == "logits":
        rows = torch.from_numpy(pack.rows).to(model.device)
        with during(model, pack):
            logits = model(**inputs(model, pack)).logits[:, -pack.ids.shape[1] :]
        return log_probs_of(logits.flatten(0, 1)[rows], row, target)
    with during(model, pack):
        hidden = hidden_rows(model, pack)
    if head == "linear":
        layer: Any = output_layer(model)
        return linear_log_probs(hidden, layer.weight, layer.bias, row, target)
    return _tail_log_probs(model, hidden, row, target)


def inputs(model: Any, pack: Pack) -> dict[str, Any]:
    """Return a pack as keyword arguments of ``model``."""
    ids = torch.from_numpy(pack.ids).to(model.device)
    if pack.depths is None:
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    visible = torch.from_numpy(pack.mask())[:, None].to(model.device)
    nothing = torch.zeros((), dtype=model.dtype, device=model.device)
    # additive, not boolean: eager attention adds the mask to the scores
    mask = torch.where(visible, nothing, torch.finfo(model.dtype).min)
    positions = torch.from_numpy(pack.depths).to(model.device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}


def hidden_rows(model: Any, pack: Pack) -> Tensor:
    """Return the hidden states (R, D) that the output layer would see at the scored positions.

    Everything before the output layer runs; the layer itself receives no rows, so it costs nothing.

    Raises:
        RuntimeError: the model never calls its output layer.
    """
    rows = torch.from_numpy(pack.rows).to(model.device)
    seen: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        # prompt tuning puts virtual tokens in front: the last T positions are the pack's
        seen.append(hidden[:, -pack.ids.shape[1] :].flatten(0, 1)[rows])
        return hidden[:, :0]

    with before_output_layer(model, take):
        model(**inputs(model, pack))
    if len(seen) != 1:
        raise RuntimeError(f"{type(model).__name__} called its output layer {len(seen)} times in one forward")
    return seen[0]


def _tail_log_probs(model: Any, hidden: Tensor, row: Tensor, target: Tensor) -> Tensor:
    """Return log-probabilities (S,) computed by the model's own code from the output layer on.

    That code may scale or soft-cap logits. The model runs on a single token whose hidden state is replaced by a slice
    of rows.
    """
    token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    step = max(1, TAIL_LOGITS // vocabulary_size(model))
    found = torch.empty(len(target), dtype=torch.float64, device=model.device)
    for first in range(0, len(hidden), step):
        part = hidden[None, first : first + step]
        with before_output_layer(model, partial(_exchange, part)):
            logits = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits[0]
        mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
        found[mine] = log_probs_of(logits, row[mine] - first, target[mine])
    return found


def _exchange(new: Tensor, _old: Tensor) -> Tensor:
    return new
