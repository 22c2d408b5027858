"""Find a model's MLP layers by the shapes of the layers in its blocks, not by the model's name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from torch import nn
from transformers.pytorch_utils import Conv1D

from canonbench.errors import CanonbenchError, UsageError
from canonbench.likelihood import decoder_blocks
from canonbench.models import text_config

Role = Literal["up", "gate", "down"]


class Projection(NamedTuple):
    """A linear layer of an MLP."""

    name: str
    """Module name, as in ``model.named_modules()``."""
    layer: int
    """The number of its block, counted from 0."""
    role: Role
    """up: into the MLP's width (gated or not); gate: the gate of a gated MLP; down: back to the model's width."""


def mlp_projections(model: Any, layers: range) -> list[Projection]:
    """Return the MLP projections of these layers, in order. Experts of a mixture count if they are linear layers.

    A module is an MLP if it is not attention and all of its direct linear layers map from the model's width d to one
    width f (or 2f: gate and up combined), or from f to d, with at least one of each.

    Raises:
        CanonbenchError: no projection is found.
    """
    prefix, blocks = decoder_blocks(model)
    width = text_config(model).hidden_size
    found = [
        Projection(f"{prefix}.{layer}.{name}", layer, role)
        for layer in layers
        for name, role in _of_block(blocks[layer], width)
    ]
    if not found:
        raise CanonbenchError(
            f"{type(model).__name__} has no MLP made of linear layers in its blocks {layers.start}-{layers[-1]}; "
            "use --method peft and name the layers in its options (target_modules)"
        )
    return found


def _of_block(block: nn.Module, width: int) -> list[tuple[str, Role]]:
    siblings: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for name, module in block.named_modules():
        shape = _shape(module)
        if shape:
            siblings[name.rpartition(".")[0]][name] = shape
    return [
        each
        for parent, shapes in siblings.items()
        if "attention" not in type(block.get_submodule(parent)).__name__.lower()
        for each in _roles(shapes, width)
    ]


def _roles(shapes: dict[str, tuple[int, int]], width: int) -> list[tuple[str, Role]]:
    """Return the roles of layers with these (in, out) sizes; empty unless together they form an MLP."""
    inner = {size for size, out in shapes.values() if out == width and size != width}
    if len(inner) != 1:
        return []
    (f,) = inner
    roles: list[tuple[str, Role]] = []
    for name, shape in shapes.items():
        if shape == (f, width):
            roles.append((name, "down"))
        elif shape == (width, f):
            roles.append((name, "gate" if "gate" in name.rpartition(".")[2] else "up"))
        elif shape == (width, 2 * f):
            roles.append((name, "up"))
        else:
            return []
    return roles if len({role == "down" for _, role in roles}) == 2 else []


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """Return (in, out) of a linear layer."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return None


def chosen_layers(model: Any, share: float, layers: str | int | None) -> range:
    """Return the named layers, or a centred block with a share of all layers; see ``named_layers`` and ``centred``.

    Raises:
        CanonbenchError: the model is not a stack of blocks.
        UsageError: ``layers`` names a layer that does not exist.
    """
    count = require_blocks(model)
    return centred(share, count) if layers is None else named_layers(str(layers), count)


def require_blocks(model: Any) -> int:
    """Return the number of blocks in the model. CanonbenchError if it is not a stack of blocks."""
    count = len(decoder_blocks(model)[1])
    if not count:
        raise CanonbenchError(f"{type(model).__name__} has no list of blocks to choose layers from")
    return count


def centred(share: float, count: int) -> range:
    """Return a contiguous block of layers in the middle: a share of ``count``, rounded, at least one
    (docs/reference/protocol.md#8-methods).

    If it cannot be centred exactly, it is half a layer closer to the input.
    """
    size = max(1, round(share * count))
    first = (count - size) // 2
    return range(first, first + size)


def named_layers(text: str, count: int) -> range:
    """Parse ``first-last`` (both included) or a single number into layers of ``count``, counted from 0.

    Raises:
        UsageError: the text is not a range, or names a layer that does not exist.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if not match:
        raise UsageError(f"layers={text} must read first-last, such as 4-7, counted from 0")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last >= count:
        raise UsageError(f"layers={text}: must be a range within 0-{count - 1}, the layers that the model has")
    return range(first, last + 1)


def pattern(projections: Iterable[Projection]) -> str:
    """Return a regular expression that matches exactly these layers' names, for peft's ``target_modules``."""
    return "|".join(re.escape(each.name) for each in projections)
