"""In-context edits: a model that reads a fixed context before every sequence."""

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
    """A causal LM with a fixed context before each sequence; it returns logits for the sequence's tokens only.

    The context's keys and values are computed once and shared by every row of every batch. Positions continue from the
    context's, and every token attends to all of the context within its attention window. No weight is changed: the
    buffer ``context_ids`` makes the fingerprint differ from the plain model's and between contexts. If weights of the
    wrapped model change later, the cached keys and values are stale: make a new wrapper.
    """

    context_ids: Tensor

    def __init__(self, model: Any, ids: Sequence[int], text: str = "") -> None:
        """Wrap ``model``.

        Args:
            model: a transformers causal LM in evaluation mode.
            ids: the context's token ids, including the tokenizer's BOS if it has one.
            text: the context as text, for readers.

        Raises:
            CanonbenchError: the context is empty or fills the model's context length, or the model has no key-value
                cache that gives the same logits as prepending the context.
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
        """The wrapped model's configuration."""
        return self.model.config

    @property
    def dtype(self) -> torch.dtype:
        """The wrapped model's dtype."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The wrapped model's device."""
        device: torch.device = self.model.device
        return device

    @property
    def num_context_tokens(self) -> int:
        """The number of tokens before every sequence."""
        return len(self.context_ids)

    def get_output_embeddings(self) -> Any:
        """The wrapped model's output layer."""
        return self.model.get_output_embeddings()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> Any:
        """Run the forward pass; the wrapped model's output type, with logits (B, T, V) of the given tokens.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), or (B, 1, T, T) boolean or additive; covers the given tokens only.
            position_ids: (B, T), counted from the first given token.
            use_cache: ignored; no keys or values of a sequence are kept.
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
        """The context's keys and values (1, heads, C, D) of each layer, computed on first use."""
        if self._front is None:
            # without a configuration the cache keeps all tokens even for sliding windows, which the masks then apply
            cache = DynamicCache()
            # pass no rows to the output layer: the context's logits are not needed
            with torch.no_grad(), before_output_layer(self.model, lambda hidden: hidden[:, :0]):
                self.model(input_ids=self.context_ids[None], past_key_values=cache, use_cache=True)
            self._front = [_kept(layer) for layer in cache.layers]
        return self._front

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As in nn.Module; also drops the cached keys and values, which depend on device and dtype."""
        self._front = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def _kept(layer: Any) -> tuple[Tensor, Tensor]:
    if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
        raise TypeError(f"{type(layer).__name__} does not hold keys and values of all tokens")
    return layer.keys, layer.values


class _Front(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer that puts the context's keys and values before a batch's and does not store the batch's."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Tensor = keys.expand(rows, -1, -1, -1)
        self.values: Tensor = values.expand(rows, -1, -1, -1)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return torch.cat([self.keys, key_states], -2), torch.cat([self.values, value_states], -2)


@torch.inference_mode()
def _require_cache(wrapper: InContext) -> None:
    """CanonbenchError unless a few tokens get the same logits by the cache as in one sequence with the context."""
    model = wrapper.model
    trouble = f"{type(model).__name__} cannot be given a context"
    if rope_limit(text_config(model)) < UNLIMITED:
        raise CanonbenchError(f"{trouble}: its rotary angles depend on the length of the whole sequence")
    ids = torch.arange(1, 5, device=model.device)[None] % vocabulary_size(model)
    whole = torch.cat([wrapper.context_ids[None], ids], -1)
    try:
        found = wrapper(ids).logits.float()
    except Exception as error:  # models without such a cache raise different exceptions
        raise CanonbenchError(f"{trouble}: it has no key-value cache ({type(error).__name__})") from error
    wanted = model(input_ids=whole, use_cache=False).logits[:, -ids.shape[1] :].float()
    if (found - wanted).abs().max() > 0.05 * wanted.std():  # above rounding error, even in bfloat16
        raise CanonbenchError(f"{trouble}: with its key-value cache it gives other logits than without")
