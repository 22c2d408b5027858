"""Run one pack: the body once, the output layer only at scored positions, in slices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from canonbench.likelihood.head import Head, linear_log_probs, log_probs_of
from canonbench.likelihood.pack import Pack
from canonbench.models.face import before_output_layer, output_layer, vocabulary_size
from canonbench.models.products import fast_products

Surrounding = Callable[[Any, Pack], AbstractContextManager[None]]
"""From a model and a pack to a context that the model's body runs in."""

TAIL_LOGITS = 2**24
"""Logits that a model makes at once where its own code must make them (64 MB in float32)."""


def without(_model: Any, _pack: Pack) -> AbstractContextManager[None]:
    """The Surrounding that does nothing."""
    return nullcontext()


@torch.inference_mode()
def log_probs(model: Any, pack: Pack, head: Head, during: Surrounding = without) -> npt.NDArray[np.float64]:
    """Log-probability in nats of every scored token of a pack, shape (S,).

    Args:
        model: the causal LM.
        pack: what to run.
        head: how its output layer may be called, see ``Head``.
        during: makes the context in which the model's body runs.
    """
    with fast_products(model.device):
        found = _log_probs(model, pack, head, during)
    result: npt.NDArray[np.float64] = found.cpu().numpy()
    return result


def _log_probs(model: Any, pack: Pack, head: Head, during: Surrounding) -> Tensor:
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
    """A pack as keyword arguments of ``model``."""
    ids = torch.from_numpy(pack.ids).to(model.device)
    if pack.depths is None:
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    visible = torch.from_numpy(pack.mask())[:, None].to(model.device)
    nothing = torch.zeros((), dtype=model.dtype, device=model.device)
    # additive, not boolean: eager attention adds whatever it is given
    mask = torch.where(visible, nothing, torch.finfo(model.dtype).min)
    positions = torch.from_numpy(pack.depths).to(model.device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}


def hidden_rows(model: Any, pack: Pack) -> Tensor:
    """The hidden states (R, D) that the output layer would see at the scored positions.

    Whatever the model does before its output layer is done; the layer itself is handed no rows, so it costs nothing.

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
    """Log-probabilities (S,) by the model's own code from the output layer on (it may scale or soft-cap logits).

    The model is run on a single token, whose hidden state is exchanged for a slice of rows.
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
