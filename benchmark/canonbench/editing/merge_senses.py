"""Merge edits of a Backpack's senses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Senses(NamedTuple):
    """What was added to N senses."""

    token_ids: Tensor
    """(N,)."""
    sense_ids: Tensor
    """(N,); no two senses are the same."""
    deltas: Tensor
    """(N, D)."""


def union(edits: Sequence[Senses]) -> Senses:
    """All senses that any edit changed, ascending by token and sense.

    A sense that several edits changed gets the mean of their deltas, one that a single edit changed gets exactly its.
    Means are taken in float64.
    """
    chosen = torch.cat([torch.stack([each.token_ids, each.sense_ids], -1) for each in edits])
    deltas = torch.cat([each.deltas for each in edits])
    # torch has no types for it
    senses, place, counts = chosen.unique(dim=0, return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    sums = deltas.new_zeros(len(senses), deltas.shape[-1], dtype=torch.float64)
    sums.index_add_(0, place, deltas.double())
    return Senses(senses[:, 0], senses[:, 1], (sums / counts[:, None]).to(deltas.dtype))
