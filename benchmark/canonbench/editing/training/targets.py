"""Where a model's MLPs are: found by the shapes of the layers in its blocks, not by the model's name."""

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
    """As in ``model.named_modules()``."""
    layer: int
    """The block it is in, counted from 0."""
    role: Role
    """up: into the MLP's width, its activation gated or not; gate: the gate of a gated MLP; down: out of it."""


def mlp_projections(model: Any, layers: range) -> list[Projection]:
    """The MLP projections of these layers, in order; of a mixture's experts those that are linear layers.

    A module is an MLP if it is no attention and all linear layers right inside it lead from the model's width d to one
    width f (or to 2f: gate and up in one), or from f to d, with at least one of each.

    Raises:
        CanonbenchError: there are none.
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
    """The roles of layers of these (in, out) sizes; none unless together they are an MLP."""
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
    """(in, out) of a linear layer."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return None


def chosen_layers(model: Any, share: float, layers: str | int | None) -> range:
    """A centred block with that share of the model's layers, or the given ones; see ``centred`` and ``named_layers``.

    Raises:
        CanonbenchError: the model is no stack of blocks.
        UsageError: ``layers`` names a layer that does not exist.
    """
    count = require_blocks(model)
    return centred(share, count) if layers is None else named_layers(str(layers), count)


def require_blocks(model: Any) -> int:
    """How many blocks the model is a stack of; CanonbenchError if it is none."""
    count = len(decoder_blocks(model)[1])
    if not count:
        raise CanonbenchError(f"{type(model).__name__} has no list of blocks to choose layers from")
    return count


def centred(share: float, count: int) -> range:
    """A contiguous block of layers in the middle: that share of ``count``, rounded, at least one
    (docs/reference/protocol.md#8-methods).

    Where it cannot stand exactly in the middle it stands half a layer towards the input.
    """
    size = max(1, round(share * count))
    first = (count - size) // 2
    return range(first, first + size)


def named_layers(text: str, count: int) -> range:
    """The layers ``first-last`` of ``count``, counted from 0, both included; or a single one.

    Raises:
        UsageError: it is no range, or names a layer that does not exist.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if not match:
        raise UsageError(f"layers={text} must read first-last, such as 4-7, counted from 0")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last >= count:
        raise UsageError(f"layers={text}: must be a range within 0-{count - 1}, the layers that the model has")
    return range(first, last + 1)


def pattern(projections: Iterable[Projection]) -> str:
    """A regular expression that matches the names of exactly these layers: what peft takes as ``target_modules``."""
    return "|".join(re.escape(each.name) for each in projections)
