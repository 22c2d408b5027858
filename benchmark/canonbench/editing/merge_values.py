"""The values that several edits gave one tensor, merged into one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from peft.utils import merge_utils
from torch import Tensor

Average = Literal["mean", "ties", "dare"]


class Merging(NamedTuple):
    """How changes are merged; each way averages, so that N times the same edit, nothing dropped, make that edit."""

    how: Average = "mean"
    """``ties`` keeps each edit's largest changes, elects a sign and averages the changes that have it (Yadav et al.
    2023); ``dare`` keeps random changes, scaled up to the same expectation, and averages (Yu et al. 2024)."""
    density: float = 1.0
    """Share of each edit's changes that ``ties`` and ``dare`` keep, within (0, 1]."""


def merged_value(base: Tensor, edited: Sequence[Tensor], merging: Merging) -> Tensor:
    """The merged value of one tensor, in the base's dtype; sums are taken in float64.

    ``dare`` draws from torch's global random state.

    Args:
        base: before the edits.
        edited: after each of them, the base's own value where an edit left the tensor alone.
        merging: see there.
    """
    if merging.how == "mean":
        total = torch.zeros_like(base, dtype=torch.float64)
        for each in edited:  # one at a time: embeddings are large, and float64 doubles them
            total += each
        return (total / len(edited)).to(base.dtype)
    start = base.double()
    changes = [each.double() - start for each in edited]
    combine = merge_utils.ties if merging.how == "ties" else merge_utils.dare_linear
    weight = 1.0 if merging.how == "ties" else 1 / len(changes)  # ties itself averages the changes that it keeps
    with dropping_nothing_is_fine():
        change: Tensor = combine(changes, torch.full((len(changes),), weight, dtype=start.dtype), merging.density)
    return (start + change).to(base.dtype)


@contextmanager
def dropping_nothing_is_fine() -> Iterator[None]:
    """Keep peft from warning that a density of 1 drops nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The density")
        yield
