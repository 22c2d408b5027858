"""Lengths at which a model may begin to do something else: windows, blocks, strides, kernels, compression rates.

They are looked for under whatever name and wherever they stand, and in doubt a number is one: then a longer sequence is
tried out, or rows are kept shorter, and nothing is lost but time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from torch import nn


class Entry(NamedTuple):
    """One whole number of a configuration, and the name that it stands under."""

    name: str
    value: int


SKIPPED = frozenset({"id2label", "label2id", "quantization_config", "task_specific_params", "vision_config"})
"""Parts of a configuration that say nothing about which tokens see which."""
_LENGTH = re.compile(r"window|chunk|stride|kernel|conv|compress|block|segment|span|sink|pool|landmark|top_?k")
"""Names that are lengths, or numbers of blocks, whatever else their names hold."""
_WIDTH = re.compile(
    # what is counted in layers, heads, experts or words
    r"layer|head|expert|moe|router|vocab|label|lora|_ids?$|_token$|_index$|_idxe?s$|indices|types?$|pattern|section"
    # widths of tensors
    r"|hidden|intermediate|embed|ffn|mlp|feed_forward|multiple|channels|groups?$|rank|expand|scal|_tp$"
    # the context, which bounds every sequence, and what concerns training or sampling
    r"|position|max_len|max_length|max_seq|seq_len|seq_length|sequence_length|context_length|n_ctx|seed|beam|ngram|iters?$"
)
"""Names that are no lengths, though they may hold the word for one."""
_WIDTH_UNLESS_LENGTH = re.compile(
    r"^(?:num|n|d|dim)_|_(?:d|num|n)_|_(?:dim|width|state)$|^dff$|^(?:state|inner|proj)_size$|_state_size$"
)
"""Names that are no lengths unless they hold the word for one, as ``linear_conv_kernel_dim``."""


def entries(value: Any, name: str = "") -> Iterator[Entry]:
    """Every whole number above 1 in a configuration's plain values, nested ones and lists' under the nearest name."""
    if isinstance(value, dict):
        off = {"sliding_window"} if value.get("use_sliding_window") is False else set()
        for key, inner in value.items():
            if key not in SKIPPED | off:
                yield from entries(inner, name if str(key).isdigit() else str(key))
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from entries(inner, name)
    elif type(value) is int and value > 1:
        yield Entry(name, value)


def is_window(name: str) -> bool:
    """Whether a number of this name is how far attention reaches."""
    return name.endswith(("window", "window_size")) or name == "attention_chunk_size"


def turning_points(config: Any, modules: Iterable[nn.Module] = ()) -> list[int]:
    """Lengths in tokens at which a model may begin to do something else, ascending.

    Each size; its half, since some windows are counted to both sides; and the product of every two, as of the blocks
    that are chosen and the tokens in one.

    Args:
        config: the model's configuration.
        modules: the model's, for sizes that its code keeps to itself.
    """
    found = {each for each in entries(config.to_dict()) if _may_be_length(each.name)}
    own = {each for module in modules for each in entries(_own(module)) if _LENGTH.search(each.name)}
    known = {each.value for each in found}
    found |= {each for each in own if each.value not in known and _may_be_length(each.name)}
    points = {one.value * other.value for one, other in combinations(found, 2)}
    points |= {each.value for each in found}
    points |= {each.value // 2 for each in found if not is_window(each.name)}
    return sorted(point for point in points if point > 1)


def _own(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if isinstance(value, int | tuple | list)}


def _may_be_length(name: str) -> bool:
    name = name.lower()
    return not _WIDTH.search(name) and bool(_LENGTH.search(name) or not _WIDTH_UNLESS_LENGTH.search(name))
