"""LoRA on the MLP projections of a block of layers in the middle (docs/reference/protocol.md#8-methods, lora)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.adapters import adapt, require_bare, train
from canonbench.editing.training.settings import STRICT, Count, FinetuneSettings, Positive, Share
from canonbench.editing.training.targets import chosen_layers, mlp_projections, pattern


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LoraSettings(FinetuneSettings):
    """Of LoRA."""

    lr: Positive = 3e-4
    """Adam's learning rate in the first epoch; a cosine takes it to zero. Published: 10^-6.5 to 10^-2."""
    rank: Count = 16
    """Of the two factors. Published: 1 to 256."""
    alpha: Count = 8
    """The product of the factors is scaled by alpha / rank. Published: 8."""
    share: Share = 0.5
    """Share of the layers that are adapted, a contiguous block in the middle. Published: 0.1 to 0.9."""
    layers: str | int | None = None
    """Instead of a share: the layers first-last that are adapted, counted from 0, such as 4-7."""
    gate: bool = True
    """Whether the gate of a gated MLP is adapted too, besides the projections up and down (released: only these)."""


def edit(model: Any, tokenizer: Any, request: EditRequest[LoraSettings]) -> Iterator[Any]:
    """Add a LoRA adapter to ``model`` and train it; see ``finetune`` for the steps and the errors.

    Raises:
        UsageError: ``layers`` names a layer that does not exist.
        CanonbenchError: those layers contain no MLP made of linear layers.
    """

    require_bare(model)  # before its layers are looked at
    adapted = adapt(model, lora_config(model, request.hyperparameters), request.seed)
    return train(adapted, tokenizer, request)


def lora_config(model: Any, settings: LoraSettings) -> Any:
    """Build the peft configuration: the adapted layers, and how they store their weights."""
    from peft import LoraConfig, TaskType  # noqa: PLC0415  (slow to import)
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415  (slow to import)

    layers = chosen_layers(model, settings.share, settings.layers)
    targets = [each for each in mlp_projections(model, layers) if settings.gate or each.role != "gate"]
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=pattern(targets),
        fan_in_fan_out=isinstance(model.get_submodule(targets[0].name), Conv1D),
    )
