# mypy: disable-error-code="no-untyped-call,untyped-decorator"
"""The Backpack language model (Hewitt et al., "Backpack Language Models", ACL 2023) in transformers.

Importing this module registers the model with transformers' Auto classes: ``AutoModelForCausalLM.from_pretrained`` then
opens folders whose configuration has ``"model_type": "backpack"``, without remote code.

    senses   (V, L, D)  L vectors for each word of the vocabulary, which depend on the word only
    weights  (L, T, T)  weight of each sense of each earlier word at each position, computed by a GPT-2
    logits_t = E · Σ_l Σ_s weights[l, t, s] · senses[x_s, l]        (E: the word embeddings)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, GPT2Model, initialization
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.models.gpt2.modeling_gpt2 import GPT2PreTrainedModel
from transformers.utils.generic import can_return_tuple

from canonbench.models.backpack.senses import (
    BackpackCausalLMOutput,
    BackpackConfig,
    BackpackModelOutput,
    SenseEdit,
    SenseNetwork,
    SenseWeights,
    remember,
    require_senses,
    weighted_sum,
)

__all__ = [
    "BackpackCausalLMOutput",
    "BackpackConfig",
    "BackpackForCausalLM",
    "BackpackModel",
    "BackpackModelOutput",
    "BackpackPreTrainedModel",
    "SenseEdit",
    "SenseNetwork",
    "SenseWeights",
]


class BackpackPreTrainedModel(GPT2PreTrainedModel):
    """Base class of the Backpack models."""

    config_class = BackpackConfig
    config: BackpackConfig
    base_model_prefix = "backpack"
    _supports_flash_attn = False  # sense weights need a mask, and the cache has one more layer
    _can_compile_fullgraph = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """GPT-2's scheme, but the sense network's last layer starts smaller by L^0.5, so L senses sum to one's size."""
        super()._init_weights(module)
        if isinstance(module, SenseNetwork):
            std = self.config.initializer_range * self.config.num_senses**-0.5
            initialization.normal_(module.final_mlp.c_proj.weight, std=std)
        elif isinstance(module, SenseEdit):
            for tensor in (module.token_ids, module.sense_ids, module.deltas):
                initialization.zeros_(tensor)


class BackpackModel(BackpackPreTrainedModel):
    """The weighted sum of senses, without the output layer."""

    def __init__(self, config: BackpackConfig) -> None:
        """Build the model with random weights."""
        super().__init__(config)
        self.gpt2_model = GPT2Model(config)
        self.sense_network = SenseNetwork(config)
        self.sense_weight_net = SenseWeights(config)
        self.sense_edit: SenseEdit | None = None
        if config.num_sense_edits:
            nowhere = torch.zeros(config.num_sense_edits, dtype=torch.long)
            self.sense_edit = SenseEdit(nowhere, nowhere.clone(), config.n_embd)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.gpt2_model.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.gpt2_model.set_input_embeddings(value)

    def senses(self, token_ids: Tensor, *, edited: bool = True) -> Tensor:
        """The sense vectors (..., L, D) of token ids (...); each distinct token's are computed once.

        Args:
            token_ids: ids in any shape.
            edited: whether to apply the model's SenseEdit, if it has one.
        """
        words, place = token_ids.unique(return_inverse=True)
        senses: Tensor = self._checkpointed(self.sense_network, self.gpt2_model.wte(words))
        if edited and self.sense_edit is not None:
            senses = self.sense_edit(words, senses)
        return senses[place]

    @can_return_tuple
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
        """Run the forward pass, as in GPT-2; the hidden states are the weighted sums of senses.

        Args:
            input_ids: (B, T).
            attention_mask: (B, S) for padding, or (B, 1, T, S), boolean or additive.
            position_ids: (B, T).
            past_key_values: cache of earlier tokens, a DynamicCache or StaticCache; besides GPT-2's layers it holds
                the senses and their keys.
            inputs_embeds: (B, T, D) instead of ``input_ids``; not with edited senses, which need token ids.
            use_cache: whether to return ``past_key_values``.
            output_contextualization: whether to return the sense weights.
            kwargs: further arguments of GPT-2.

        Raises:
            ValueError: the inputs contradict each other, or ``past_key_values`` cannot hold senses.
        """
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None and not (self.gradient_checkpointing and self.training):
            past_key_values = DynamicCache(config=self.config)
        if past_key_values is not None:
            require_senses(past_key_values, self.config.n_layer)
        embeddings, senses = self._look_up(input_ids, inputs_embeds)
        if attention_mask is not None and attention_mask.ndim == 4 and attention_mask.dtype == torch.bool:
            attention_mask = _additive(attention_mask, embeddings.dtype)
        # the mask that GPT-2's attention uses; made before GPT-2 adds to the cache
        mask: Any = create_causal_mask(
            self.config, embeddings, attention_mask, past_key_values, position_ids, allow_is_causal_skip=False
        )
        trunk = self.gpt2_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        queries, keys = self.sense_weight_net.queries_and_keys(trunk.last_hidden_state)
        if past_key_values is not None:
            keys, senses = remember(past_key_values, keys, senses, self.config.n_layer)
        mixed, weights = self._checkpointed(self._mix, queries, keys, mask, senses)
        return BackpackModelOutput(
            last_hidden_state=mixed,
            past_key_values=trunk.past_key_values,
            hidden_states=trunk.hidden_states,
            attentions=trunk.attentions,
            contextualization=weights if output_contextualization else None,
        )

    def _look_up(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> tuple[Tensor, Tensor]:
        """The word embeddings (B, T, D) and senses (B, T, L, D) of the inputs."""
        if inputs_embeds is None and input_ids is not None:
            return self.gpt2_model.wte(input_ids), self.senses(input_ids)
        if inputs_embeds is None or input_ids is not None:
            raise ValueError("give either input_ids or inputs_embeds")
        if self.sense_edit is not None:
            raise ValueError("edited senses are those of words: give input_ids, not inputs_embeds")
        return inputs_embeds, self._checkpointed(self.sense_network, inputs_embeds)

    def _mix(self, queries: Tensor, keys: Tensor, mask: Tensor, senses: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.sense_weight_net(queries, keys, mask)
        return weighted_sum(weights, senses), weights

    def _checkpointed(self, function: Callable[..., Any], *args: Tensor) -> Any:
        """Call ``function(*args)``, recomputed in the backward pass if gradient checkpointing is on."""
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(function, *args)
        return function(*args)


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a boolean mask to an additive one, because eager attention adds its mask."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


class BackpackForCausalLM(BackpackPreTrainedModel, GenerationMixin):
    """The Backpack with its output layer, which is tied to the word embeddings."""

    _tied_weights_keys: dict[str, str] = {  # noqa: RUF012  (an instance variable to transformers' types)
        "lm_head.weight": "backpack.gpt2_model.wte.weight"
    }

    def __init__(self, config: BackpackConfig) -> None:
        """With random weights."""
        super().__init__(config)
        self.backpack = BackpackModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def senses(self, token_ids: Tensor, *, edited: bool = True) -> Tensor:
        """See ``BackpackModel.senses``."""
        return self.backpack.senses(token_ids, edited=edited)

    def edit_senses(self, token_ids: Tensor, sense_ids: Tensor) -> SenseEdit:
        """Add a SenseEdit with zero vectors for the senses given by token ids (N,) and sense ids (N,).

        The edit becomes part of the model: ``save_pretrained`` and ``from_pretrained`` include it.

        Raises:
            ValueError: the model already has such an edit, or no sense is given, one is given twice or does not exist.
        """
        if self.backpack.sense_edit is not None:
            raise ValueError("the model has edited senses already")
        named = list(zip(token_ids.tolist(), sense_ids.tolist(), strict=True))
        if not named or len(set(named)) < len(named):
            raise ValueError("a sense is named twice" if named else "no sense is named")
        if not all(0 <= t < self.config.vocab_size and 0 <= s < self.config.num_senses for t, s in named):
            raise ValueError(f"the model has {self.config.num_senses} senses of {self.config.vocab_size} tokens")
        places = token_ids.to(self.device), sense_ids.to(self.device)
        self.backpack.sense_edit = SenseEdit(*places, self.config.n_embd, self.dtype)
        self.config.num_sense_edits = len(named)
        return self.backpack.sense_edit

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_contextualization: bool = False,
        **kwargs: Any,
    ) -> BackpackCausalLMOutput:
        """Run the forward pass; arguments not described here are those of ``BackpackModel.forward``.

        Args:
            input_ids: (B, T).
            attention_mask: see there.
            position_ids: see there.
            past_key_values: see there.
            inputs_embeds: see there.
            labels: (B, T), with -100 at positions without a loss.
            use_cache: see there.
            logits_to_keep: the number of last positions to compute logits for (0: all), or their indices.
            output_contextualization: see there.
            kwargs: further arguments of GPT-2, and ``num_items_in_batch`` for the loss.
        """
        weight_of_loss = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        output = self.backpack(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_contextualization=output_contextualization,
            return_dict=True,
            **kwargs,
        )
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
