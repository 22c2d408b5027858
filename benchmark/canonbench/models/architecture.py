"""Properties of a causal LM that the engine needs, for any transformers class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from canonbench.errors import CanonbenchError
from canonbench.models.sizes import entries, is_window

UNLIMITED = 2**31
LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})
"""RoPE types whose angles change once a batch holds a sequence longer than the original context."""
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


def text_config(model: Any) -> Any:
    """The configuration of the language model; of a multimodal model, the text part's."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def context_length(model: Any) -> int | None:
    """The longest sequence the model takes, in tokens; None if unlimited (ALiBi, recurrent).

    Virtual or context tokens before every sequence are subtracted from the base model's context.
    """
    config = text_config(model)
    if getattr(config, "alibi", False) or config.model_type == "bloom":  # Bloom uses ALiBi; old files give a limit
        return None
    for key in CONTEXT_KEYS:
        value = getattr(config, key, None)
        if isinstance(value, int) and value > 0:
            return value - tokens_in_front(model)
    return None


def tokens_in_front(model: Any) -> int:
    """Number of tokens before every sequence: virtual tokens of prompt-learning adapters, or an in-context edit's."""
    virtual = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", None) or 0
    return virtual + int(getattr(model, "num_context_tokens", 0))


def most_in_front(model: Any) -> int:
    """The largest ``tokens_in_front`` over the model and, in an ensemble, its parts."""
    return max(tokens_in_front(each) for each in (model, *getattr(model, "parts", ())))


def rope_limit(config: Any) -> int:
    """The longest sequence whose rotary angles do not depend on its batch, in tokens; UNLIMITED for most models."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if not any(kind.get("rope_type") in LENGTH_DEPENDENT_ROPE for kind in kinds):
        return UNLIMITED
    original = [kind.get("original_max_position_embeddings") for kind in kinds]
    return int(min((value for value in original if value), default=config.max_position_embeddings))


def attention_window(config: Any) -> int:
    """The smallest attention window of any layer, in positions; UNLIMITED without windows.

    No row of a packed trie may be longer: a 4-D mask replaces the window in the model's own mask, and some models
    count the window in row positions.
    """
    windows = (value for name, value in entries(config.to_dict()) if is_window(name))
    return min(windows, default=UNLIMITED)


def output_layer(model: Any) -> nn.Module:
    """The module that turns hidden states into logits.

    Raises:
        CanonbenchError: the model has no output layer, so it is not a causal language model.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Module):
        raise CanonbenchError(f"{type(model).__name__} has no output layer: not a causal language model")
    return layer


def readable_ids(model: Any) -> int:
    """The number of valid input token ids, from 0 up; for an ensemble, the ids that its parts share."""
    return int(getattr(model.config, "shared_vocab_size", vocabulary_size(model)))


def vocabulary_size(model: Any) -> int:
    """The number of logits per position (rows of the output layer)."""
    weight = getattr(output_layer(model), "weight", None)
    return int(weight.shape[0]) if weight is not None else int(text_config(model).vocab_size)


@contextmanager
def before_output_layer(model: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Apply ``change`` to the hidden states (B, T, D) before the output layer, within the context."""

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(args[0]), *args[1:])

    handle = output_layer(model).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def require_causal(model: Any, name: str) -> None:
    """CanonbenchError if later tokens of a sequence change earlier logits, as in a masked language model.

    Such a model sees the continuation that it should predict, so its log-likelihoods would be meaningless.
    """
    size = readable_ids(model)
    ids = torch.arange(1, 9, device=model.device).repeat(2, 1)
    ids[1, 4:] += 8
    ids %= size
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
    first, second = logits[:, -8:-4]
    if (first - second).abs().max() > 0.05 * first.std():  # above rounding error, even in bfloat16
        raise CanonbenchError(
            f"{name}: {type(model).__name__} sees the tokens that it is to predict; it is not a causal language model"
        )
