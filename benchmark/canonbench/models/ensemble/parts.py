"""The parts of an ensemble, each in two steps: from token ids to the hidden states that its output layer sees, and on
to logits.
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
    """The hidden states (B, T, D) of the given tokens; the output layer is handed no rows, so it costs nothing.

    Raises:
        RuntimeError: the model does not call its output layer once.
    """
    seen: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        seen.append(hidden[:, -input_ids.shape[1] :])  # virtual tokens may stand in front
        return hidden[:, :0]

    with before_output_layer(model, take):
        model(input_ids=input_ids, use_cache=False, **_own_mask(model, inputs))
    if len(seen) != 1:
        raise RuntimeError(f"{type(model).__name__} called its output layer {len(seen)} times in one forward")
    return seen[0]


def logits_of(model: Any, hidden: Tensor) -> Tensor:
    """Logits (B, T, V) of hidden states (B, T, D), by the model's own code from its output layer on.

    It may scale or soft-cap them there: it is run on a single token, whose hidden state is exchanged.
    """
    if isinstance(model, InContext):  # which cuts off what stands before the tokens that it was given
        model = model.model
    token = torch.zeros((1, 1), dtype=torch.long, device=hidden.device)
    rows = hidden.flatten(0, 1)[None]
    with before_output_layer(model, lambda own: rows.to(own.dtype)):
        logits: Tensor = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits[0]
    return logits.reshape(*hidden.shape[:2], -1)


class Apart(nn.Module):
    """The small model after and before its edit, as two models."""

    def __init__(self, after: Any, before: Any) -> None:
        """Two causal LMs in evaluation mode; they may share weights."""
        super().__init__()
        self.after, self.before = after, before

    def hidden(self, input_ids: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) after and before the edit."""
        return hidden_states(self.after, input_ids, **inputs), hidden_states(self.before, input_ids, **inputs)


class OneTrunk(nn.Module):
    """A Backpack with edited senses: what weighs the senses does not depend on them, so it runs once for both."""

    def __init__(self, edited: BackpackForCausalLM) -> None:
        """The edited model; without its edit it is the one before."""
        super().__init__()
        self.after = edited

    @property
    def before(self) -> BackpackForCausalLM:
        """From its output layer on, the model before the edit is the one after it."""
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
        """A PeftModel."""
        super().__init__()
        self.adapted = adapted

    @property
    def config(self) -> Any:
        """Of the base."""
        return self.adapted.config

    @property
    def dtype(self) -> torch.dtype:
        """Of the base."""
        dtype: torch.dtype = self.adapted.dtype
        return dtype

    def get_output_embeddings(self) -> Any:
        """Of the base, as long as the adapter leaves it in place."""
        return output_layer(self.adapted)

    def forward(self, **inputs: Any) -> Any:
        """What the base returns."""
        with self.adapted.disable_adapter():
            return self.adapted(**inputs)


Pair = Apart | OneTrunk


def pair_of_edit(edited: Any, kind: str | None) -> Pair | None:
    """A small edited model and, in it, the one that was edited; None if that is not in it.

    Args:
        edited: the model as it was loaded.
        kind: of its artefact, see ``EditFile``; None if it has none.
    """
    if isinstance(edited, InContext):
        return Apart(edited, edited.model)
    if hasattr(edited, "peft_config"):
        return Apart(edited, WithoutAdapter(edited))
    return OneTrunk(edited) if kind == "senses" else None


def _own_mask(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs with an additive mask in the model's own dtype."""
    mask = inputs.get("attention_mask")
    if mask is None or not mask.is_floating_point() or mask.dtype == model.dtype:
        return inputs
    nothing = torch.zeros((), dtype=model.dtype, device=mask.device)
    return inputs | {"attention_mask": torch.where(mask == 0, nothing, torch.finfo(model.dtype).min)}
