"""What a Backpack is told, and what it returns."""

# Much of transformers has no types:
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import GPT2Config
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput


@strict
class BackpackConfig(GPT2Config):
    """That of the GPT-2 inside, and of the senses; the defaults are those of the published checkpoint."""

    model_type = "backpack"

    vocab_size: int = 50264
    n_positions: int = 512
    scale_attn_by_inverse_layer_idx: bool = True
    num_senses: int = 16
    """L: sense vectors of each word; it divides ``n_embd``."""
    sense_intermediate_scale: int = 4
    """Width of the hidden layer that makes the senses, in units of ``n_embd``."""
    num_sense_edits: int = 0
    """Senses that a vector is added to, see ``SenseEdit``."""

    def validate_senses(self) -> None:
        """Called by ``strict``; ValueError for a number of senses that their weights cannot be computed for."""
        if self.num_senses < 1 or self.n_embd % self.num_senses:
            raise ValueError(f"num_senses={self.num_senses} must divide n_embd={self.n_embd}")


@dataclass
class BackpackModelOutput(ModelOutput):
    """What ``BackpackModel`` returns."""

    last_hidden_state: Tensor | None = None
    """(B, T, D), the weighted sum of senses."""
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    """Of the GPT-2, if asked for."""
    attentions: tuple[Tensor, ...] | None = None
    """Of the GPT-2, if asked for."""
    contextualization: Tensor | None = None
    """(B, L, T, S), the weights of the senses of the S tokens so far, if asked for."""


@dataclass
class BackpackCausalLMOutput(ModelOutput):
    """What ``BackpackForCausalLM`` returns; see ``BackpackModelOutput`` for the rest."""

    loss: Tensor | None = None
    """Mean NLL (nats per token) of ``labels``, shifted here."""
    logits: Tensor | None = None
    """(B, T, V)."""
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    contextualization: Tensor | None = None
