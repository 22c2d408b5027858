"""Find a model's decoder blocks, tell which of them two models share, and start a forward pass above some of them."""

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
"""Maps ``model_type`` to name prefixes of tensors that no block's output depends on."""


def decoder_blocks(model: Any) -> tuple[str, list[Any]]:
    """Return the name of the list of decoder blocks and the blocks; ``("", [])`` if the model has no such list."""
    count = getattr(text_config(model), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return _plain(name), list(module)
    return "", []


@contextmanager
def listening(block: nn.Module, hear: Callable[[Any], None]) -> Iterator[None]:
    """Call ``hear`` with each output of ``block`` while the context is open."""
    handle = block.register_forward_hook(lambda _block, _args, output: hear(output))
    try:
        yield
    finally:
        handle.remove()


def hidden_of(output: Any) -> Tensor:
    """Return the hidden states from a block's output (a tensor, or a tuple that starts with it)."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def first_changed_block(model: Any, base: Mapping[str, str], edited: Mapping[str, str]) -> int:
    """Count the blocks, from the bottom, that are the same in two models; 0 if anything they depend on differs.

    Args:
        model: either of the two models.
        base: tensor name to fingerprint, for the base.
        edited: the same for the edited model; tensor names of an unmerged adapter are also accepted.
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
    """How to start a forward pass above the lower blocks.

    Models with equal shortcuts have the same hidden states at that block.
    """

    block: int
    """Number of blocks skipped."""
    arity: int | None
    """Length of the tuple that a block returns; None if it returns only the hidden states."""
    token_bytes: int
    """Bytes of one token's hidden state."""
    probe: str
    """SHA-256 of the model's own hidden states at that block on a probe pack."""

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
    """Return the shortcut that starts a model at ``block``.

    None unless, on a probe pack, it gives bit-identical output to a full forward pass.
    """
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
    except Exception:  # if upper blocks need more than hidden states, the error depends on the architecture
        return None
    return way if torch.equal(resumed, whole) else None


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return the raw bytes of a contiguous tensor."""
    data: memoryview = tensor.cpu().reshape(-1).view(torch.uint8).numpy().data
    return data


def _plain(name: str) -> str:
    """Strip from a tensor or module name what an adapter around the model adds."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
