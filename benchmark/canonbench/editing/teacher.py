"""The base inside the model in training: the teacher of the KL term, without a second model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from canonbench.editing.batches import Padded
from canonbench.editing.losses import logits_at
from canonbench.likelihood.blocks import decoder_blocks, first_changed_block, hidden_of, listening
from canonbench.likelihood.rescore import shortcut

AdapterOff = Callable[[], AbstractContextManager[None]]
"""A context in which the model runs without the adapter that trains; it does nothing where none does."""


class Base(NamedTuple):
    """What makes a model in training its base again: what is frozen is not held twice."""

    tensors: dict[str, Tensor]
    """As they were before training: those of the tensors that train which are the base's own."""
    adapter_off: AdapterOff


def both_logits(model: Any, base: Base, trained: Iterable[str]) -> Callable[[Padded], tuple[Tensor, Tensor]]:
    """What gives a batch's logits (R, V) of the base, without gradient, and of the model.

    Blocks below the first of the tensors that train compute the same for both, so they are run once, where the model
    can be entered above them.
    """
    way = shortcut(model, _blocks_below(model, set(trained)))
    _, blocks = decoder_blocks(model)

    def run(batch: Padded) -> tuple[Tensor, Tensor]:
        if way is None:
            return _base_logits(model, base, batch), logits_at(model, batch)
        outputs: list[Any] = []
        with listening(blocks[way.block - 1], outputs.append):
            before = _base_logits(model, base, batch)
        with way.taken(model, hidden_of(outputs.pop())):
            return before, logits_at(model, batch)

    return run


@torch.no_grad()
def _base_logits(model: Any, base: Base, batch: Padded) -> Tensor:
    def run(**inputs: Any) -> Any:
        return functional_call(model, base.tensors, (), inputs) if base.tensors else model(**inputs)

    with base.adapter_off():
        return logits_at(model, batch, run)


def _blocks_below(model: Any, trained: set[str]) -> int:
    """How many blocks, from the bottom, nothing that trains has a part in."""
    names = [name for name, _ in model.named_parameters()]
    changed = {name: "trains" if name in trained else "" for name in names}
    return first_changed_block(model, dict.fromkeys(names, ""), changed)
