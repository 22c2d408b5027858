"""The blocks that a decoder is a stack of: where they are, what they return, which of them two models share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from canonbench.models.face import output_layer, text_config

BESIDE_BLOCKS = {
    "backpack": ("backpack.sense_network.", "backpack.sense_weight_net.", "backpack.sense_edit."),
}
"""Of some architectures, by ``model_type``: how the names of tensors begin that no block's output depends on."""


def decoder_blocks(model: Any) -> tuple[str, list[Any]]:
    """The decoder's blocks and the name of their list; none if the model has no such list."""
    count = getattr(text_config(model), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return _plain(name), list(module)
    return "", []


@contextmanager
def listening(block: nn.Module, hear: Callable[[Any], None]) -> Iterator[None]:
    """Be told what a block returns."""
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


def _plain(name: str) -> str:
    """The name that a tensor or module has without an adapter around the model."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
