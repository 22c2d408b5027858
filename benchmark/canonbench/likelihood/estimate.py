"""What a run will cost, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from canonbench.likelihood.pack import Pack
from canonbench.models.face import output_layer, text_config

ACTIVATIONS = 12
"""Tensors of the size of the hidden states that are alive at once inside a block, the wider ones of the MLP counted
by their width: the residual stream, its norm, queries, keys and values with their rotated copies, the output."""


class Estimate(NamedTuple):
    """The cost of scoring some packs."""

    tokens: int
    """Tokens that are fed, each shared prefix once per piece, without padding."""
    flops: int
    """Of the matrix products, padding included; all experts of a mixture counted as if each saw every token."""
    bytes: int
    """Memory at the peak: weights, and what the largest pack needs besides."""


def estimate(model: Any, packs: Sequence[Pack]) -> Estimate:
    """Tokens, FLOPs and bytes of ``packs``, a sum of what shapes say; nothing is run."""
    config = text_config(model)
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    head = sum(parameter.numel() for parameter in output_layer(model).parameters())
    body = _body_weights(model)
    flops = 0
    largest = 0
    for pack in packs:
        rows, width = pack.ids.shape
        flops += 2 * body * rows * width + 4 * hidden * layers * rows * width**2 + 2 * head * len(pack.rows)
        wide = getattr(config, "intermediate_size", None) or 4 * hidden
        largest = max(largest, rows * width * (ACTIVATIONS * hidden + 3 * wide) + rows * width**2)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return Estimate(sum(pack.n_tokens for pack in packs), flops, weights + largest * model.dtype.itemsize)


def _body_weights(model: Any) -> int:
    """Entries of the matrices that every token is multiplied with: all but embeddings and the output layer."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    apart = {id(parameter) for table in (*tables, output_layer(model)) for parameter in table.parameters()}
    return sum(own.numel() for own in model.parameters() if own.ndim > 1 and id(own) not in apart)
