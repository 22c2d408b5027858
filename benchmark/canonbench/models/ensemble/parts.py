"""The parts of an ensemble, and their forward pass in two steps.

The first step maps token ids to the hidden states that the output layer receives, the second maps these to logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from canonbench.models.architecture import before_output_layer, output_layer
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.backpack.senses import weighted_sum


def hidden_states(model: Any, input_ids: Tensor, **inputs: Tensor) -> Tensor:
    """The hidden states (B, T, D) of the given tokens before the output layer, which gets no rows and so costs nothing.

    Raises:
        RuntimeError: the model does not call its output layer exactly once.
    """
    seen: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        seen.append(hidden[:, -input_ids.shape[1] :])  # virtual tokens may come first
        return hidden[:, :0]

    with before_output_layer(model, take):
        model(input_ids=input_ids, use_cache=False, **_own_mask(model, inputs))
    if len(seen) != 1:
        raise RuntimeError(f"{type(model).__name__} called its output layer {len(seen)} times in one forward")
    return seen[0]


def logits_of(model: Any, hidden: Tensor) -> Tensor:
    """The logits (B, T, V) of hidden states (B, T, D), by the model's own code from its output layer on.

    That code may scale or soft-cap logits, so the model runs on one dummy token whose hidden state is replaced.
    """
    if isinstance(model, InContext):  # InContext would cut the logits to the length of the dummy token
        model = model.model
    token = torch.zeros((1, 1), dtype=torch.long, device=hidden.device)
    rows = hidden.flatten(0, 1)[None]
    with before_output_layer(model, lambda own: rows.to(own.dtype)):
        logits: Tensor = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits[0]
    return logits.reshape(*hidden.shape[:2], -1)


class Apart(nn.Module):
    """The small model after and before its edit, as two models."""

    def __init__(self, after: Any, before: Any) -> None:
        """Pair two causal LMs in evaluation mode; they may share weights."""
        super().__init__()
        self.after, self.before = after, before

    def hidden(self, input_ids: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) after and before the edit."""
        return hidden_states(self.after, input_ids, **inputs), hidden_states(self.before, input_ids, **inputs)


class OneTrunk(nn.Module):
    """A Backpack with edited senses. The sense weights do not depend on the senses, so one pass serves both models."""

    def __init__(self, edited: BackpackForCausalLM) -> None:
        """Wrap the edited model; without its sense edit it is the model before the edit."""
        super().__init__()
        self.after = edited

    @property
    def before(self) -> BackpackForCausalLM:
        """The edited model: from the output layer on, both are the same."""
        return self.after

    def hidden(self, input_ids: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) after and before the edit."""
        body = self.after.backpack
        own = _own_mask(self.after, inputs)
        found = body(input_ids, use_cache=False, output_contextualization=True, **own)
        before = weighted_sum(found.contextualization, body.senses(input_ids, edited=False))
        return found.last_hidden_state, before


class WithoutAdapter(nn.Module):
    """The base below an unmerged adapter, without a second copy of it."""

    def __init__(self, adapted: Any) -> None:
        """Wrap a PeftModel."""
        super().__init__()
        self.adapted = adapted

    @property
    def config(self) -> Any:
        """The base's configuration."""
        return self.adapted.config

    @property
    def dtype(self) -> torch.dtype:
        """The base's dtype."""
        dtype: torch.dtype = self.adapted.dtype
        return dtype

    def get_output_embeddings(self) -> Any:
        """The output layer of the adapted model, which is the base's unless the adapter replaces it."""
        return output_layer(self.adapted)

    def forward(self, **inputs: Any) -> Any:
        """Run the base's forward pass with the adapter disabled."""
        with self.adapted.disable_adapter():
            return self.adapted(**inputs)


Pair = Apart | OneTrunk


def pair_of_edit(edited: Any, kind: str | None) -> Pair | None:
    """Pair an edited model with its base if it contains that base; None otherwise.

    Args:
        edited: the edited model as loaded.
        kind: the kind of its artefact, see ``EditFile``; None without an artefact.
    """
    if isinstance(edited, InContext):
        return Apart(edited, edited.model)
    if hasattr(edited, "peft_config"):
        return Apart(edited, WithoutAdapter(edited))
    return OneTrunk(edited) if kind == "senses" else None


def _own_mask(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs, with an additive mask converted to the model's dtype."""
    mask = inputs.get("attention_mask")
    if mask is None or not mask.is_floating_point() or mask.dtype == model.dtype:
        return inputs
    nothing = torch.zeros((), dtype=model.dtype, device=mask.device)
    return inputs | {"attention_mask": torch.where(mask == 0, nothing, torch.finfo(model.dtype).min)}
