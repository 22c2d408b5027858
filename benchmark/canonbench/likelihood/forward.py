"""Run one pack: the output layer only at scored positions, log p by logsumexp."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from canonbench.likelihood.pack import Pack
from canonbench.models.face import output_layer


@contextmanager
def rows_only(model: Any, rows: Tensor, shape: tuple[int, int]) -> Iterator[None]:
    """Let the model's output layer see only some positions, whatever the model does before and after it.

    The hidden states (B, T', D) that reach the output layer are replaced by the chosen rows (1, R, D), so
    ``model(...)`` returns logits (1, R, V), with the model's own scaling or soft-capping of logits applied. T' exceeds T
    where the model puts virtual tokens in front (prompt tuning); the last T positions are the ones meant.
    """

    def select(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0][:, -shape[1] :]
        return (hidden.reshape(-1, hidden.shape[-1])[rows][None], *args[1:])

    handle = output_layer(model).register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def log_probs(model: Any, pack: Pack) -> npt.NDArray[np.float64]:
    """Log-probability in nats of every scored token of a pack, shape (S,)."""
    device = model.device
    ids = torch.from_numpy(pack.ids).to(device)
    with rows_only(model, torch.from_numpy(pack.rows).to(device), pack.ids.shape):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    row = torch.from_numpy(pack.row).to(device)
    target = torch.from_numpy(pack.target).to(device)
    chosen = logits[row, target].double() - logits.logsumexp(-1).double()[row]
    result: npt.NDArray[np.float64] = chosen.cpu().numpy()
    return result
