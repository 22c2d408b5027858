"""Loss leagues (docs/reference/protocol.md#4-leagues): how far an edit raised the loss on general text."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from canonbench.errors import CanonbenchError
from canonbench.scoring.losses import require_finite

LEAGUES: dict[str, float] = {"1e-3": 1e-3, "1e-4": 1e-4, "1e-5": 1e-5}
Membership = Literal["in", "out", "uncertain"]


def general_loss(nll_sums: ArrayLike, n_tokens: ArrayLike) -> float:
    """Return the token-weighted mean NLL of chunks in nats per token: Σ NLL / Σ tokens, both (n_chunks,).

    The sum is exactly rounded, because the tightest league depends on the fifth decimal of a ratio of two such numbers.

    Raises:
        CanonbenchError: an NLL is not finite, the shapes differ, or a chunk has no scored token.
    """
    sums = require_finite(nll_sums, "chunk NLL")
    counts = np.asarray(n_tokens)
    if counts.shape != sums.shape:
        raise CanonbenchError(f"{sums.size} chunk losses but {counts.size} token counts")
    if (counts <= 0).any():
        raise CanonbenchError(f"chunk {int(np.argmin(counts))} has no scored token")
    return math.fsum(sums) / int(counts.sum())


def loss_ratio(base: float, edited: float) -> float:
    """Return loss(p) / loss(p_0); CanonbenchError if a loss is not finite or the base's is not positive."""
    if not (math.isfinite(base) and math.isfinite(edited) and base > 0):
        raise CanonbenchError(f"no loss ratio from a general loss of {base} (base) and {edited} (edited)")
    return edited / base


def noise_floor(loss_once: float, loss_again: float) -> float:
    """Return the relative difference of two measurements of the base that differ only in how chunks are batched."""
    return abs(loss_ratio(loss_once, loss_again) - 1)


def membership(ratio: float, epsilon: float, noise_floor: float) -> Membership:
    """Decide whether a loss ratio is in league ε (ratio <= 1 + ε) or too close to the limit to tell.

    ``uncertain`` iff the ratio is within the noise floor of 1 + ε: |ratio − (1 + ε)| <= noise floor. With a noise floor
    of exactly zero nothing is uncertain, and a ratio equal to the limit is in.
    """
    line = 1 + epsilon
    if noise_floor > 0 and abs(ratio - line) <= noise_floor:
        return "uncertain"
    return "in" if ratio <= line else "out"


def straddles(interval: tuple[float, float], epsilon: float) -> bool:
    """Whether the 95 % interval of a ratio contains league ε's limit: on other text the ratio could exceed it."""
    return interval[0] <= 1 + epsilon < interval[1]
