"""The blocks that a decoder is a stack of: where they are, which of them two models share, how to start above some."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from canonbench.likelihood.forward import hidden_rows
from canonbench.likelihood.route import probe_pack, route
from canonbench.models import output_layer, text_config

BESIDE_BLOCKS = {
    "backpack": ("backpack.sense_network.", "backpack.sense_weight_net.", "backpack.sense_edit."),
}
"""By ``model_type``: prefixes of the names of tensors that no block's output depends on."""


def decoder_blocks(model: Any) -> tuple[str, list[Any]]:
    """The decoder's blocks and the name of their list; none if the model has no such list."""
    count = getattr(text_config(model), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return _plain(name), list(module)
    return "", []


@contextmanager
def listening(block: nn.Module, hear: Callable[[Any], None]) -> Iterator[None]:
    """Call ``hear`` with whatever a block returns."""
    handle = block.register_forward_hook(lambda _block, _args, output: hear(output))
    try:
        yield
    finally:
        handle.remove()


def hidden_of(output: Any) -> Tensor:
    """The hidden states among what a block returns."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def first_changed_block(model: Any, base: Mapping[str, str], edited: Mapping[str, str]) -> int:
    """How many blocks, from the bottom, are the same in two models; 0 if anything that they depend on differs.

    Args:
        model: either of the two.
        base: fingerprints of its tensors, by name.
        edited: likewise; the names of an unmerged adapter are understood.
    """
    prefix, blocks = decoder_blocks(model)
    if not blocks:
        return 0
    one, other = ({_plain(name): value for name, value in each.items()} for each in (base, edited))
    layer = output_layer(model)
    head = next((_plain(name) for name, module in model.named_modules() if module is layer), None)
    beside = (f"{head}.", *BESIDE_BLOCKS.get(text_config(model).model_type, ()))
    same = len(blocks)
    for name in one.keys() | other.keys():
        if one.get(name) == other.get(name) or name.startswith(beside):
            continue
        number = name.removeprefix(f"{prefix}.").split(".")[0] if name.startswith(f"{prefix}.") else "0"
        same = min(same, int(number))
    return same


@dataclass(frozen=True)
class Shortcut:
    """How to start a model above its lower blocks; models with equal shortcuts have the same hidden states there."""

    block: int
    """Number of blocks that are skipped."""
    arity: int | None
    """Entries of the tuple that a block returns; None if it returns the hidden states alone."""
    token_bytes: int
    """Size of one token's hidden state."""
    probe: str
    """SHA-256 of the hidden states that the model itself has there on a probe."""

    @contextmanager
    def taken(self, model: Any, hidden: Tensor) -> Iterator[None]:
        """Make the lower blocks return ``hidden`` (B, T, D) instead of running."""
        answer = hidden if self.arity is None else (hidden, *[None] * (self.arity - 1))
        skipped = decoder_blocks(model)[1][: self.block]
        own = [vars(block).get("forward") for block in skipped]
        try:
            for block in skipped:
                block.forward = lambda *_args, **_kwargs: answer
            yield
        finally:
            for block, forward in zip(skipped, own, strict=True):
                del block.forward
                if forward is not None:
                    block.forward = forward


@torch.inference_mode()
def shortcut(model: Any, block: int) -> Shortcut | None:
    """How to start a model at a block; None unless, on a probe, that gives the same bits as running it in full."""
    _, blocks = decoder_blocks(model)
    if not 0 < block <= len(blocks) or route(model).head == "logits":
        return None
    pack = probe_pack(model)
    outputs: list[Any] = []
    with listening(blocks[block - 1], outputs.append):
        whole = hidden_rows(model, pack)
    if len(outputs) != 1 or hidden_of(outputs[0]).shape[:2] != pack.ids.shape:
        return None
    arity = len(outputs[0]) if isinstance(outputs[0], tuple) else None
    hidden = hidden_of(outputs[0]).contiguous().clone()
    probe = hashlib.sha256(tensor_bytes(hidden)).hexdigest()
    way = Shortcut(block, arity, hidden.shape[-1] * hidden.itemsize, probe)
    try:
        with way.taken(model, hidden):
            resumed = hidden_rows(model, pack)
    except Exception:  # upper blocks that need more of the lower ones fail in ways that differ by architecture
        return None
    return way if torch.equal(resumed, whole) else None


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The content of a contiguous tensor."""
    data: memoryview = tensor.cpu().reshape(-1).view(torch.uint8).numpy().data
    return data


def _plain(name: str) -> str:
    """The name that a tensor or module has without an adapter around the model."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
