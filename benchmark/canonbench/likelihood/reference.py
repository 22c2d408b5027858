"""The plain definition: one sequence at a time, every logit, nothing clever. What the engine must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from canonbench.likelihood.tokens import Request


@torch.inference_mode()
def reference_log_probs(model: Any, requests: Sequence[Request]) -> list[npt.NDArray[np.float64]]:
    """Per request, log p of each token of ``ids[start:]`` in nats: logit − logsumexp(logits), in float32 or better."""
    results = []
    for ids, start in requests:
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -len(ids) :]
        logits = logits[start - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32))
        target = torch.tensor(ids[start:], device=logits.device)[:, None]
        log_probs = logits.gather(-1, target)[:, 0] - logits.logsumexp(-1)
        results.append(log_probs.double().cpu().numpy())
    return results
