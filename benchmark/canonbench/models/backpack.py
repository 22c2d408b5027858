"""The Backpack language model (Hewitt et al., "Backpack Language Models", ACL 2023) in transformers.

Importing this module tells transformers' Auto classes about it: ``AutoModelForCausalLM.from_pretrained`` then opens a
folder whose configuration says ``"model_type": "backpack"``, without any remote code.

    senses   (V, L, D)  of each word of the vocabulary, L vectors that depend on nothing but the word
    weights  (L, T, T)  how much of each sense of each word so far goes into each position; a GPT-2 computes them
    logits_t = E · Σ_l Σ_s weights[l, t, s] · senses[x_s, l]        (E: the word embeddings)
"""

# Much of transformers, and some of torch, has no types:
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, GPT2Config, GPT2Model
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.masking_utils import create_causal_mask
from transformers.models.gpt2.modeling_gpt2 import GPT2PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.generic import ModelOutput


@strict
class BackpackConfig(GPT2Config):
    """That of the GPT-2 below, and of the senses; the defaults are those of the published checkpoint."""

    model_type = "backpack"

    vocab_size: int = 50264
    n_positions: int = 512
    scale_attn_by_inverse_layer_idx: bool = True
    num_senses: int = 16
    """L: sense vectors of each word."""
    sense_intermediate_scale: int = 4
    """Width of the hidden layer that makes the senses, in units of ``n_embd``."""
    num_sense_edits: int = 0
    """Senses that a vector is added to, see ``SenseEdit``."""


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
        residual = rows + residual  # of rows that are normalised already: so it was published
        found: Tensor = self.ln_2(self.mlp(self.ln_1(residual)) + residual)
        return found


class SenseNetwork(nn.Module):
    """From word embeddings to senses."""

    def __init__(self, config: BackpackConfig) -> None:
        """With the widths of ``config``."""
        super().__init__()
        self.ln = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.block = _SenseBlock(config)
        inner = config.sense_intermediate_scale * config.n_embd
        self.final_mlp = _MLP(config, inner, config.num_senses * config.n_embd)
        self.num_senses = config.num_senses

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., D) to (..., L, D)."""
        senses: Tensor = self.final_mlp(self.block(self.ln(embeddings), embeddings))
        return senses.reshape(*senses.shape[:-1], self.num_senses, -1)


class SenseWeights(nn.Module):
    """From the hidden states of the GPT-2 to the weights of senses."""

    def __init__(self, config: BackpackConfig) -> None:
        """With the widths of ``config``."""
        super().__init__()
        self.num_senses = config.num_senses
        self.c_attn = nn.Linear(config.n_embd, 2 * config.n_embd)

    def queries_and_keys(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) to two of (B, L, T, D / L)."""
        both = self.c_attn(hidden).unflatten(-1, (2, self.num_senses, -1))
        queries, keys = both.permute(2, 0, 3, 1, 4).unbind()
        return queries, keys

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The weights (B, L, T, S); the mask (B, 1, T, S) is boolean, or is added."""
        scores = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
        seen = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
        weights: Tensor = seen.softmax(-1)
        return weights


class SenseEdit(nn.Module):
    """Vectors that are added to some senses: what sense finetuning trains."""

    token_ids: Tensor
    sense_ids: Tensor

    def __init__(self, token_ids: Tensor, sense_ids: Tensor, width: int, dtype: torch.dtype | None = None) -> None:
        """``token_ids`` and ``sense_ids``, (N,) each, name N different senses; the vectors start at zero."""
        super().__init__()
        self.register_buffer("token_ids", token_ids)
        self.register_buffer("sense_ids", sense_ids)
        self.deltas = nn.Parameter(torch.zeros(len(token_ids), width, dtype=dtype, device=token_ids.device))

    def forward(self, words: Tensor, senses: Tensor) -> Tensor:
        """The senses (W, L, D) of the words (W,), which are ascending, with the vectors added."""
        place = torch.searchsorted(words, self.token_ids).clamp(max=len(words) - 1)
        at_hand = words[place] == self.token_ids
        which = place[at_hand], self.sense_ids[at_hand]
        return senses.index_put(which, self.deltas[at_hand].to(senses.dtype), accumulate=True)


class BackpackPreTrainedModel(GPT2PreTrainedModel):
    """What both models share."""

    config_class = BackpackConfig
    config: BackpackConfig
    base_model_prefix = "backpack"
    _supports_flash_attn = False  # the weights of senses need a mask, and the cache holds a layer more
    _can_compile_fullgraph = False


class BackpackModel(BackpackPreTrainedModel):
    """The weighted sum of senses, without the output layer."""

    def __init__(self, config: BackpackConfig) -> None:
        """With random weights, as GPT-2's."""
        super().__init__(config)
        self.gpt2_model = GPT2Model(config)
        self.sense_network = SenseNetwork(config)
        self.sense_weight_net = SenseWeights(config)
        self.sense_edit: SenseEdit | None = None
        if config.num_sense_edits:
            nowhere = torch.zeros(config.num_sense_edits, dtype=torch.long)
            self.sense_edit = SenseEdit(nowhere, nowhere.clone(), config.n_embd)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.gpt2_model.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.gpt2_model.set_input_embeddings(value)

    def senses(self, token_ids: Tensor, *, edited: bool = True) -> Tensor:
        """The sense vectors (..., L, D) of token ids (...); each word's are computed once.

        Args:
            token_ids: of any shape.
            edited: with what a SenseEdit adds to them.
        """
        words, place = token_ids.unique(return_inverse=True)
        senses = self.sense_network(self.gpt2_model.wte(words))
        if edited and self.sense_edit is not None:
            senses = self.sense_edit(words, senses)
        found: Tensor = senses[place]
        return found

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_contextualization: bool = False,
        **kwargs: Any,
    ) -> BackpackModelOutput:
        """As GPT-2's; of each position, the weighted sum of senses.

        Args:
            input_ids: (B, T).
            attention_mask: (B, S) for padding, or (B, 1, T, S), boolean or additive.
            position_ids: (B, T).
            past_key_values: of the tokens before; beside the layers of the GPT-2 it holds the senses and their keys.
            inputs_embeds: (B, T, D) instead of ``input_ids``; such words have senses, but no edited ones.
            use_cache: whether to return ``past_key_values``.
            output_contextualization: whether to return the weights of senses.
            kwargs: those of GPT-2.
        """
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None and not (self.gpt2_model.gradient_checkpointing and self.training):
            past_key_values = DynamicCache(config=self.config)
        if inputs_embeds is None:
            assert input_ids is not None
            embeddings, senses = self.gpt2_model.wte(input_ids), self.senses(input_ids)
        else:
            embeddings, senses = inputs_embeds, self.sense_network(inputs_embeds)
        mask = self._mask(embeddings, attention_mask, past_key_values, position_ids)
        trunk = self.gpt2_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        queries, keys = self.sense_weight_net.queries_and_keys(trunk.last_hidden_state)
        senses = senses.transpose(1, 2)  # (B, L, T, D)
        if past_key_values is not None:
            if len(past_key_values.layers) == self.config.n_layer:
                past_key_values.layers.append(DynamicLayer())
            keys, senses = past_key_values.update(keys, senses, self.config.n_layer)
        weights = self.sense_weight_net(queries, keys, mask)
        # one product over senses and positions together: the L sums are never there side by side
        mixed = weights.transpose(1, 2).flatten(2) @ senses.flatten(1, 2)
        return BackpackModelOutput(
            last_hidden_state=mixed,
            past_key_values=trunk.past_key_values,
            hidden_states=trunk.hidden_states,
            attentions=trunk.attentions,
            contextualization=weights if output_contextualization else None,
        )

    def _mask(
        self, embeddings: Tensor, given: Tensor | None, past_key_values: Cache | None, position_ids: Tensor | None
    ) -> Tensor:
        """What the weights of senses see, which is what the attention of the GPT-2 sees."""
        config = copy.copy(self.config)
        config._attn_implementation = "eager"  # the only one that always comes with a mask
        mask = create_causal_mask(config, embeddings, given, past_key_values, position_ids)
        assert isinstance(mask, Tensor)
        return mask


class BackpackForCausalLM(BackpackPreTrainedModel, GenerationMixin):
    """The Backpack with its output layer, which is the word embeddings."""

    _tied_weights_keys: dict[str, str] = {  # noqa: RUF012  (an instance variable to transformers' types)
        "lm_head.weight": "backpack.gpt2_model.wte.weight"
    }

    def __init__(self, config: BackpackConfig) -> None:
        """With random weights, as GPT-2's."""
        super().__init__(config)
        self.backpack = BackpackModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def senses(self, token_ids: Tensor, *, edited: bool = True) -> Tensor:
        """See ``BackpackModel.senses``."""
        return self.backpack.senses(token_ids, edited=edited)

    def edit_senses(self, token_ids: Tensor, sense_ids: Tensor) -> SenseEdit:
        """Add a vector, zero for now, to each of the senses named by (N,) token ids and as many sense ids.

        It becomes part of the model: ``save_pretrained`` keeps it, and ``from_pretrained`` brings it back.

        Raises:
            ValueError: the model has such an edit already, or a sense is named twice or is not there.
        """
        if self.backpack.sense_edit is not None:
            raise ValueError("the model has edited senses already")
        named = list(zip(token_ids.tolist(), sense_ids.tolist(), strict=True))
        if len(set(named)) < len(named):
            raise ValueError("a sense is named twice")
        if not all(0 <= t < self.config.vocab_size and 0 <= s < self.config.num_senses for t, s in named):
            raise ValueError(f"the model has {self.config.num_senses} senses of {self.config.vocab_size} tokens")
        places = token_ids.to(self.device), sense_ids.to(self.device)
        self.backpack.sense_edit = SenseEdit(*places, self.config.n_embd, self.dtype)
        self.config.num_sense_edits = len(named)
        return self.backpack.sense_edit

    def forward(
        self,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> BackpackCausalLMOutput:
        """See ``BackpackModel.forward``.

        Args:
            input_ids: (B, T).
            labels: (B, T), -100 where no loss is wanted.
            logits_to_keep: how many of the last positions get logits (0: all), or which.
            kwargs: those of ``BackpackModel``.
        """
        weight_of_loss = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        output = self.backpack(input_ids, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **weight_of_loss)
        return BackpackCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            contextualization=output.contextualization,
        )


AutoConfig.register("backpack", BackpackConfig)
AutoModel.register(BackpackConfig, BackpackModel)
AutoModelForCausalLM.register(BackpackConfig, BackpackForCausalLM)
