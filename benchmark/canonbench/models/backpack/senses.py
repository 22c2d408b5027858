# mypy: disable-error-code="no-untyped-call"
"""The parts of a Backpack outside its GPT-2: configuration, outputs, sense network, sense weights, edits and cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import GPT2Config
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer
from transformers.pytorch_utils import Conv1D
from transformers.utils.generic import ModelOutput


@strict
class BackpackConfig(GPT2Config):
    """Configuration of the inner GPT-2 and of the senses; the defaults are the published checkpoint's."""

    model_type = "backpack"

    vocab_size: int = 50264
    n_positions: int = 512
    scale_attn_by_inverse_layer_idx: bool = True
    num_senses: int = 16
    """L, the number of sense vectors per word; must divide ``n_embd``."""
    sense_intermediate_scale: int = 4
    """Width of the sense network's last hidden layer, in units of ``n_embd``."""
    num_sense_edits: int = 0
    """Number of edited senses, see ``SenseEdit``."""

    def validate_senses(self) -> None:
        """ValueError if ``num_senses`` does not divide ``n_embd``; called by ``strict``."""
        if self.num_senses < 1 or self.n_embd % self.num_senses:
            raise ValueError(f"num_senses={self.num_senses} must divide n_embd={self.n_embd}")


@dataclass
class BackpackModelOutput(ModelOutput):
    """Output of ``BackpackModel``."""

    last_hidden_state: Tensor | None = None
    """(B, T, D), the weighted sum of senses."""
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    """The inner GPT-2's hidden states, if requested."""
    attentions: tuple[Tensor, ...] | None = None
    """The inner GPT-2's attention weights, if requested."""
    contextualization: Tensor | None = None
    """(B, L, T, S), the weights of the senses of the S tokens so far, if requested."""


@dataclass
class BackpackCausalLMOutput(ModelOutput):
    """Output of ``BackpackForCausalLM``; the other fields are those of ``BackpackModelOutput``."""

    loss: Tensor | None = None
    """Mean NLL (nats per token) of ``labels``, which the model shifts by one position."""
    logits: Tensor | None = None
    """(B, T, V), logits before the softmax."""
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    contextualization: Tensor | None = None


class _MLP(nn.Module):
    def __init__(self, config: BackpackConfig, inner: int, out: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(inner, config.n_embd)
        self.c_proj = Conv1D(out, inner)
        self.act = ACT2FN[config.activation_function]

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.c_proj(self.act(self.c_fc(rows)))
        return found


class _SenseBlock(nn.Module):
    def __init__(self, config: BackpackConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = _MLP(config, 4 * config.n_embd, config.n_embd)

    def forward(self, rows: Tensor, residual: Tensor) -> Tensor:
        residual = rows + residual  # the rows are already normalised, as in the published model
        found: Tensor = self.ln_2(self.mlp(self.ln_1(residual)) + residual)
        return found


class SenseNetwork(nn.Module):
    """Map word embeddings to sense vectors. It has no dropout."""

    def __init__(self, config: BackpackConfig) -> None:
        """Build the network with the widths of ``config``."""
        super().__init__()
        self.ln = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.block = _SenseBlock(config)
        inner = config.sense_intermediate_scale * config.n_embd
        self.final_mlp = _MLP(config, inner, config.num_senses * config.n_embd)
        self.num_senses = config.num_senses

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings (..., D) to senses (..., L, D)."""
        senses = self.final_mlp(self.block(self.ln(embeddings), embeddings))
        found: Tensor = senses.unflatten(-1, (self.num_senses, -1))
        return found


class SenseWeights(nn.Module):
    """Map GPT-2's hidden states to sense weights: attention without values, with one head per sense."""

    def __init__(self, config: BackpackConfig) -> None:
        """Build the layer with the widths of ``config``."""
        super().__init__()
        self.num_senses = config.num_senses
        self.c_attn = nn.Linear(config.n_embd, 2 * config.n_embd)

    def queries_and_keys(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map hidden states (B, T, D) to queries and keys of the same shape, with the heads concatenated."""
        queries, keys = self.c_attn(hidden).chunk(2, -1)
        return queries, keys

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The sense weights (B, L, T, S) of queries (B, T, D) and keys (B, S, D).

        For each sense and query, the weights over S sum to 1. The mask (B or 1, 1, T, S) is boolean or additive.
        """
        one, other = (each.unflatten(-1, (self.num_senses, -1)).transpose(1, 2) for each in (queries, keys))
        scores = one @ other.transpose(-1, -2) * one.shape[-1] ** -0.5
        seen = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
        weights: Tensor = seen.softmax(-1)
        return weights


def weighted_sum(weights: Tensor, senses: Tensor) -> Tensor:
    """The sum (B, T, D) over senses and positions of weights (B, L, T, S) times senses (B, S, L, D).

    It is one matrix product over both sums, so the L sums over positions are never in memory together.
    """
    return weights.permute(0, 2, 3, 1).flatten(2) @ senses.flatten(1, 2)


class SenseEdit(nn.Module):
    """Vectors added to some senses; sense finetuning trains them."""

    token_ids: Tensor
    sense_ids: Tensor

    def __init__(self, token_ids: Tensor, sense_ids: Tensor, width: int, dtype: torch.dtype | None = None) -> None:
        """Edit the N distinct senses given by ``token_ids`` (N,) and ``sense_ids`` (N,); the vectors start at zero."""
        super().__init__()
        self.register_buffer("token_ids", token_ids)
        self.register_buffer("sense_ids", sense_ids)
        self.deltas = nn.Parameter(torch.zeros(len(token_ids), width, dtype=dtype, device=token_ids.device))

    def forward(self, words: Tensor, senses: Tensor) -> Tensor:
        """Add the vectors to the senses (W, L, D) of the words (W,), which must be sorted in ascending order."""
        place = torch.searchsorted(words, self.token_ids).clamp(max=len(words) - 1)
        at_hand = words[place] == self.token_ids
        which = place[at_hand], self.sense_ids[at_hand]
        return senses.index_put(which, self.deltas[at_hand].to(senses.dtype), accumulate=True)


def require_senses(cache: Cache, n_layer: int) -> None:
    """ValueError if the cache holds GPT-2's layers for earlier tokens but not their senses."""
    if len(cache.layers) <= n_layer and cache.get_seq_length():
        raise ValueError("past_key_values holds tokens without their senses, which only a Backpack can put there")


def remember(cache: Cache, keys: Tensor, senses: Tensor, n_layer: int) -> tuple[Tensor, Tensor]:
    """Add keys (B, T, D) and senses (B, T, L, D) of new tokens to a cache; return those of all tokens so far.

    They are stored in one more layer after GPT-2's ``n_layer`` layers.

    Raises:
        ValueError: this type of cache cannot hold such a layer.
    """
    if len(cache.layers) == n_layer:
        cache.layers.append(_layer_like(cache.layers[0]))
    # stored as one head: a layer holds (B, heads, S, ...), with as many heads for keys as for values
    all_keys, all_senses = cache.update(keys[:, None], senses.flatten(2)[:, None], n_layer)
    return all_keys[:, 0], all_senses[:, 0].unflatten(-1, senses.shape[2:])


def _layer_like(layer: object) -> DynamicLayer | StaticLayer:
    if type(layer) is DynamicLayer:
        return DynamicLayer()
    if type(layer) is StaticLayer:
        return StaticLayer(layer.max_cache_len)
    raise ValueError(
        f"a {type(layer).__name__} cannot hold senses; let past_key_values be a DynamicCache or StaticCache"
    )
