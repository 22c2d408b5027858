"""Add the change that an edit made to a small model to a larger model (arXiv 2402.06155, eq. 12).

logits = logits_large + β · (log p_after − log p_before)     for tokens that all three models share
logits = logits_large                                       for tokens that only the large model has

If all tokens of the large model are shared, the two small models' normalisers are the same for every token and cancel
in the softmax, so logits are used in place of log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from canonbench.errors import CanonbenchError
from canonbench.models.architecture import (
    UNLIMITED,
    attention_window,
    context_length,
    output_layer,
    rope_limit,
    text_config,
    tokens_in_front,
    vocabulary_size,
)
from canonbench.models.ensemble.parts import Pair, hidden_states, logits_of
from canonbench.models.load_errors import one_line


@dataclass
class EnsembleConfig:
    """The configuration entries that the engine reads; each limit is the smallest of the three models'."""

    beta: float
    vocab_size: int
    """The number of logits of the large model."""
    shared_vocab_size: int
    """The number of token ids that all three accept; only their logits change."""
    hidden_size: int
    """The sum of the three models' hidden sizes."""
    num_hidden_layers: int
    max_position_embeddings: int | None
    sliding_window: int | None
    parts: list[Any]
    """The configurations of the three models and of adapters on them."""
    model_type: str = "ensemble"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a dictionary of plain values."""
        return asdict(self)


@dataclass
class EnsembleOutput:
    """Output of ``Ensemble``."""

    logits: Tensor
    """(B, T, V), with V the large model's vocabulary."""


class Terms(NamedTuple):
    """The two terms of eq. 12, without the factor β, each (B, T, V), in float32 or float64."""

    large: Tensor
    change: Tensor


class EnsembleHead(nn.Module):
    """Map the concatenated hidden states of the three models to the ensemble's logits."""

    def __init__(self, large: Any, pair: Pair, config: EnsembleConfig) -> None:
        """Refer to the three models without registering their weights in this module."""
        super().__init__()
        self._parts = (large, pair.after, pair.before)
        self.config = config
        self.widths: list[int] = []
        """The hidden size D of each of the three models."""
        self._is_linear: list[bool] = []

    def try_out(self, ids: Tensor) -> None:
        """Find out, on token ids (B, T), how each part maps its hidden states to logits.

        Raises:
            CanonbenchError: a part's logits do not follow from the hidden states that its output layer receives.
        """
        mask = torch.ones_like(ids)
        for part in self._parts:
            own = hidden_states(part, ids, attention_mask=mask)
            wanted = part(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, -ids.shape[1] :]
            found = logits_of(part, own)
            tolerance = max(1e-4, 64 * torch.finfo(part.dtype).eps) * max(1.0, float(wanted.abs().max()))
            if found.shape != wanted.shape or not (found - wanted).abs().max() <= tolerance:
                raise CanonbenchError(
                    f"{type(part).__name__} cannot be part of an ensemble: its logits do not follow from what its "
                    "output layer sees"
                )
            self.widths.append(own.shape[-1])
            layer: Any = output_layer(part)
            hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
            self._is_linear.append(type(layer) is nn.Linear and not hooked and torch.equal(layer(own), found))

    def terms(self, hidden: Tensor) -> Terms:
        """The two terms that any β combines, from hidden states (B, T, D + D' + D'')."""
        large, after, before = torch.split(hidden, self.widths, -1)
        shared = output_layer(self._parts[1]) is output_layer(self._parts[2])
        layer: Any = output_layer(self._parts[1])
        words, extra = self.config.shared_vocab_size, self.config.vocab_size - self.config.shared_vocab_size
        if shared and not extra and self._is_linear[1] and self._is_linear[2]:
            difference = nn.functional.linear((after - before).to(layer.weight.dtype), layer.weight)
            return Terms(self._logits(0, large), _precise(difference)[..., :words])
        one, other = self._logits(1, after), self._logits(2, before)
        change = (one - other)[..., :words]
        if extra:
            change = nn.functional.pad(change + (other.logsumexp(-1) - one.logsumexp(-1))[..., None], (0, extra))
        return Terms(self._logits(0, large), change)

    def forward(self, hidden: Tensor) -> Tensor:
        """The ensemble's logits (B, T, V) from hidden states (B, T, D + D' + D'')."""
        if not hidden.shape[1]:
            return hidden.new_empty((*hidden.shape[:2], self.config.vocab_size))
        return mixed(self.terms(hidden), self.config.beta)

    def _logits(self, number: int, hidden: Tensor) -> Tensor:
        part = self._parts[number]
        hidden = hidden.to(part.dtype)
        layer: Any = output_layer(part)
        return _precise(layer(hidden) if self._is_linear[number] else logits_of(part, hidden))


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def mixed(terms: Terms, beta: float) -> Tensor:
    """Combine the terms to the logits (B, T, V) of eq. 12."""
    return terms.large + beta * terms.change


class Ensemble(nn.Module):
    """A large causal LM plus β times the change that an edit made to a small one; scored like any other model.

    It is for scoring only: it has no gradients and no key-value cache.
    """

    def __init__(self, large: Any, pair: Pair, *, beta: float = 1.0, vocabulary: int | None = None) -> None:
        """Combine three models, which must be on one device.

        Args:
            large: a causal LM in evaluation mode.
            pair: the small model after and before its edit.
            beta: the factor β of the change.
            vocabulary: the number of token ids that are the same in all three; None: the smallest vocabulary's size.
                Tokens above it keep the large model's logits, so an edit without a change changes nothing.

        Raises:
            CanonbenchError: a model's logits cannot be computed from its hidden states.
        """
        super().__init__()
        self.large, self.small = large, pair
        parts = (large, pair.after, pair.before)
        sizes = [vocabulary_size(each) for each in parts]
        self.config = EnsembleConfig(
            beta=beta,
            vocab_size=sizes[0],
            shared_vocab_size=min([*sizes, vocabulary or UNLIMITED]),
            hidden_size=0,
            num_hidden_layers=max(int(getattr(text_config(each), "num_hidden_layers", 1)) for each in parts),
            max_position_embeddings=_least(_context(each) for each in parts),
            sliding_window=_least(_behind_front(attention_window(text_config(each)), each) for each in parts),
            parts=[_settings(each) for each in parts],
        )
        self.head = EnsembleHead(large, pair, self.config)
        self.eval()
        self._try_out()

    @property
    def dtype(self) -> torch.dtype:
        """The large model's dtype."""
        dtype: torch.dtype = self.large.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The large model's device."""
        device: torch.device = self.large.device
        return device

    @property
    def parts(self) -> tuple[Any, ...]:
        """The large model, the small one after its edit, and the small one before its edit."""
        return self.large, self.small.after, self.small.before

    def get_output_embeddings(self) -> EnsembleHead:
        """The module that maps the three models' hidden states to logits."""
        return self.head

    @torch.no_grad()
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool = False,  # noqa: ARG002
    ) -> EnsembleOutput:
        """Logits (B, T, V) of the given tokens.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), or (B, 1, T, T) boolean or additive.
            position_ids: (B, T).
            use_cache: ignored; no keys or values are kept.
        """
        given = {"attention_mask": attention_mask, "position_ids": position_ids}
        inputs = {name: value for name, value in given.items() if value is not None}
        hidden = hidden_states(self.large, input_ids, **inputs), *self.small.hidden(input_ids, **inputs)
        return EnsembleOutput(self.head(torch.cat(hidden, -1)))

    @torch.inference_mode()
    def _try_out(self) -> None:
        # token 0 is left out, because logits_of uses it as its dummy token
        ids = 1 + torch.arange(8, device=self.device).reshape(2, 4) % (self.config.shared_vocab_size - 1)
        with one_line("the ensemble"):
            self.head.try_out(ids)
        self.config.hidden_size = sum(self.head.widths)


def _context(model: Any) -> int:
    """The longest sequence that a part takes and whose rotary angles do not depend on its batch, in tokens."""
    return min(context_length(model) or UNLIMITED, _behind_front(rope_limit(text_config(model)), model))


def _behind_front(limit: int, model: Any) -> int:
    """A limit minus the tokens that the model puts before every sequence; at least 1."""
    return limit if limit == UNLIMITED else max(1, limit - tokens_in_front(model))


def _least(limits: Iterable[int]) -> int | None:
    """The smallest limit; None if all are UNLIMITED."""
    least = min(limits)
    return None if least == UNLIMITED else least


def _settings(model: Any) -> list[Any]:
    """A part's configuration and its adapters', for the fingerprint."""
    adapters = getattr(model, "peft_config", {})
    return [each.to_dict() for each in (model.config, *adapters.values())]
