"""A model with a fixed context in front of everything that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from canonbench.errors import CanonbenchError
from canonbench.models.architecture import (
    UNLIMITED,
    before_output_layer,
    context_length,
    rope_limit,
    text_config,
    vocabulary_size,
)


class InContext(nn.Module):
    """A causal LM that has read a context before each sequence; it answers for the sequence's tokens alone.

    The keys and values of the context are computed once and shared by every row of every batch. Positions go on from
    the context's, and every token sees all of the context that its attention window reaches. No weight is changed; the
    fingerprint tells the wrapper from the model, and one context from another, by the buffer ``context_ids``. Weights
    of the wrapped model that change afterwards would not reach the keys and values: make a new wrapper instead.
    """

    context_ids: Tensor

    def __init__(self, model: Any, ids: Sequence[int], text: str = "") -> None:
        """Wrap ``model``.

        Args:
            model: a transformers causal LM in evaluation mode.
            ids: the context's token ids, the tokenizer's BOS among them where it has one.
            text: the context for people.

        Raises:
            CanonbenchError: the context leaves no room, or the model has no key-value cache that gives the answers of
                plain prepending.
        """
        super().__init__()
        limit = context_length(model)
        if not ids or (limit is not None and len(ids) >= limit):
            raise CanonbenchError(f"a context of {len(ids)} tokens does not fit a model whose context is {limit}")
        self.model = model
        self.text = text
        self.register_buffer("context_ids", torch.tensor(ids, device=model.device))
        self._front: list[tuple[Tensor, Tensor]] | None = None
        self.eval()
        _require_cache(self)

    @property
    def config(self) -> Any:
        """Of the wrapped model."""
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """Of the wrapped model."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Of the wrapped model."""
        device: torch.device = self.model.device
        return device

    @property
    def num_context_tokens(self) -> int:
        """Tokens in front of every sequence."""
        return len(self.context_ids)

    def get_output_embeddings(self) -> Any:
        """Of the wrapped model."""
        return self.model.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> Any:
        """Logits (B, T, V) of the given tokens, in what the wrapped model returns.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), or (B, 1, T, T) boolean or additive; how the given tokens see each other.
            position_ids: (B, T), counted from the first given token.
            use_cache: ignored: nothing of a sequence is kept.
        """
        rows, width = input_ids.shape
        front = self.num_context_tokens
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        seen = torch.ones if attention_mask.ndim == 2 or attention_mask.dtype == torch.bool else torch.zeros
        shape = (*attention_mask.shape[:-1], front)
        left = seen(shape, dtype=attention_mask.dtype, device=attention_mask.device)
        inputs = {"attention_mask": torch.cat([left, attention_mask], -1)}
        if position_ids is not None:
            inputs["position_ids"] = position_ids + front
        cache = Cache(layers=[_Front(keys, values, rows) for keys, values in self._context()])
        output = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True, **inputs)
        output.past_key_values = None
        output.logits = output.logits[:, -width:]
        return output

    def _context(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (1, heads, C, D) of the context, per layer."""
        if self._front is None:
            # without a configuration the cache keeps all of a sliding window's tokens, and the masks do the sliding
            cache = DynamicCache()
            # the output layer is handed no rows: of the context only keys and values are wanted
            with torch.no_grad(), before_output_layer(self.model, lambda hidden: hidden[:, :0]):
                self.model(input_ids=self.context_ids[None], past_key_values=cache, use_cache=True)
            self._front = [_kept(layer) for layer in cache.layers]
        return self._front

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As nn.Module does for ``to``; another device or dtype needs other keys and values."""
        self._front = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def _kept(layer: Any) -> tuple[Tensor, Tensor]:
    if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
        raise TypeError(f"{type(layer).__name__} does not hold keys and values of all tokens")
    return layer.keys, layer.values


class _Front(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values of the context, in front of a batch's, which are not kept."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Tensor = keys.expand(rows, -1, -1, -1)
        self.values: Tensor = values.expand(rows, -1, -1, -1)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return torch.cat([self.keys, key_states], -2), torch.cat([self.values, value_states], -2)


@torch.inference_mode()
def _require_cache(wrapper: InContext) -> None:
    """CanonbenchError unless a few tokens after the context get the logits that they get in one sequence with it."""
    model = wrapper.model
    trouble = f"{type(model).__name__} cannot be given a context"
    if rope_limit(text_config(model)) < UNLIMITED:
        raise CanonbenchError(f"{trouble}: its rotary angles depend on the length of the whole sequence")
    ids = torch.arange(1, 5, device=model.device)[None] % vocabulary_size(model)
    whole = torch.cat([wrapper.context_ids[None], ids], -1)
    try:
        found = wrapper(ids).logits.float()
    except Exception as error:  # each model says in its own way that it has no such cache
        raise CanonbenchError(f"{trouble}: it has no key-value cache ({type(error).__name__})") from error
    wanted = model(input_ids=whole, use_cache=False).logits[:, -ids.shape[1] :].float()
    if (found - wanted).abs().max() > 0.05 * wanted.std():  # rounding stays below, even in bfloat16
        raise CanonbenchError(f"{trouble}: with its key-value cache it gives other logits than without")
