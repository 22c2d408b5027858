"""What the engine needs to know of a causal LM, read off whatever transformers class it is."""

from __future__ import annotations

from typing import Any

from torch import nn

from canonbench.errors import CanonbenchError

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


def text_config(model: Any) -> Any:
    """The language model's configuration (that of the text part for multimodal models)."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def context_length(model: Any) -> int | None:
    """The longest sequence the model takes, in tokens; None where nothing limits it (ALiBi, recurrent)."""
    config = text_config(model)
    if getattr(config, "alibi", False) or config.model_type in {"bloom", "mpt", "mamba", "mamba2", "rwkv"}:
        return None
    for key in CONTEXT_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def output_layer(model: Any) -> nn.Module:
    """The module that turns hidden states into logits.

    Raises:
        CanonbenchError: the model has none, so it is not a causal language model.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Module):
        raise CanonbenchError(f"{type(model).__name__} has no output layer: not a causal language model")
    return layer


def vocabulary_size(model: Any) -> int:
    """Rows of the output layer: the size of the softmax."""
    weight = getattr(output_layer(model), "weight", None)
    return int(weight.shape[0]) if weight is not None else int(text_config(model).vocab_size)
