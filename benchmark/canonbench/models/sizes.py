"""Sequence lengths at which a model's computation may change: windows, blocks, strides, kernels, compression rates.

They are found by searching the configuration and the modules for names that suggest a length. A doubtful number counts
as a length: the cost is only a longer trial sequence or shorter rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from torch import nn


class Entry(NamedTuple):
    """One integer of a configuration and its name."""

    name: str
    value: int


SKIPPED = frozenset({"id2label", "label2id", "quantization_config", "task_specific_params", "vision_config"})
"""Parts of a configuration that do not affect which tokens attend to which."""
_LENGTH = re.compile(r"window|chunk|stride|kernel|conv|compress|block|segment|span|sink|pool|landmark|top_?k")
"""Names of lengths or block counts."""
_WIDTH = re.compile(
    # counts of layers, heads, experts or words
    r"layer|head|expert|moe|router|vocab|label|lora|_ids?$|_token$|_index$|_idxe?s$|indices|types?$|pattern|section"
    # widths of tensors
    r"|hidden|intermediate|embed|ffn|mlp|feed_forward|multiple|channels|groups?$|rank|expand|scal|_tp$"
    # the context length, which bounds every sequence, and settings of training or sampling
    r"|position|max_len|max_length|max_seq|seq_len|seq_length|sequence_length|context_length|n_ctx|seed|beam|ngram|iters?$"
)
"""Names that are not lengths even where they match ``_LENGTH``."""
_WIDTH_UNLESS_LENGTH = re.compile(
    r"^(?:num|n|d|dim)_|_(?:d|num|n)_|_(?:dim|width|state)$|^dff$|^(?:state|inner|proj)_size$|_state_size$"
)
"""Names that are not lengths unless they also match ``_LENGTH``, as ``linear_conv_kernel_dim`` does."""


def entries(value: Any, name: str = "") -> Iterator[Entry]:
    """Yield every integer above 1 in a configuration's plain values; list items take the name of the nearest key."""
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
    """Whether a number of this name is the reach of attention."""
    return name.endswith(("window", "window_size")) or name == "attention_chunk_size"


def turning_points(config: Any, modules: Iterable[nn.Module] = ()) -> list[int]:
    """Lengths in tokens at which a model's computation may change, ascending.

    They are each size, half of it (some windows count both sides), and the product of every two sizes (for example the
    number of selected blocks times the tokens per block).

    Args:
        config: the model's configuration.
        modules: the model's modules, for sizes that appear only in their attributes.
    """
    found = {each for each in entries(config.to_dict()) if _may_be_length(each.name)}
    own = {each for module in modules for each in entries(_own(module)) if _LENGTH.search(each.name)}
    known = {each.value for each in found}
    found |= {each for each in own if each.value not in known and _may_be_length(each.name)}
    points = {one.value * other.value for one, other in combinations(found, 2)}
    points |= {each.value + is_window(each.name) for each in found}  # a window as long as the sequence hides nothing
    points |= {each.value // 2 for each in found if not is_window(each.name)}
    return sorted(point for point in points if point > 1)


def _own(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if isinstance(value, int | tuple | list)}


def _may_be_length(name: str) -> bool:
    name = name.lower()
    return not _WIDTH.search(name) and bool(_LENGTH.search(name) or not _WIDTH_UNLESS_LENGTH.search(name))
