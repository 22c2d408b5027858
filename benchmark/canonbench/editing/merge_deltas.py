"""Merge edits that changed whole tensors, on their base, one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch

from canonbench.editing.merge_values import Merging, merged_value
from canonbench.models.delta import stored_values


class StoredDelta(NamedTuple):
    """Where an edit's new values lie."""

    changed: Mapping[str, str]
    """Name to hash, as in ``canonbench_edit.json``."""
    path: Path


@torch.no_grad()
def merge_deltas(model: Any, deltas: Sequence[StoredDelta], merging: Merging) -> None:
    """Turn the base ``model`` into the merged one, in place.

    An edit that left a tensor alone counts with the base's value, for it is state dicts that are averaged.

    Args:
        model: the base of all of them.
        deltas: in an order that does not depend on the caller's: random combinations follow it.
        merging: see there.

    Raises:
        CanonbenchError: a file is missing or corrupt.
    """
    state = model.state_dict()
    streams = [stored_values(state, delta.changed, delta.path) for delta in deltas]
    for name, found in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        values = [value.to(state[name].device) for _, value in found]
        values += [state[name]] * (len(deltas) - len(values))
        state[name].copy_(merged_value(state[name], values, merging))
