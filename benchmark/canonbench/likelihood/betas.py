"""Score a pack with an ensemble under several β: the three bodies and their output layers run once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from canonbench.likelihood.engine import Compute
from canonbench.likelihood.forward import TAIL_LOGITS, hidden_rows
from canonbench.likelihood.head import Head, log_probs_of
from canonbench.likelihood.pack import Pack
from canonbench.models.ensemble import mixed
from canonbench.models.face import vocabulary_size
from canonbench.models.products import fast_products


def under(betas: Sequence[float]) -> Compute:
    """What ``score`` is to compute of an Ensemble: log-probabilities (S, len(betas)) in nats, a column for each β.

    They are bit for bit those of ensembles of these β, since it is the same sum that is normalised.
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
