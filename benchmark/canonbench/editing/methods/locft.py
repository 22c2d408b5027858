"""Finetune one MLP down-projection and nothing else (LocFT, arXiv 2509.22072)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.settings import STRICT, FinetuneSettings, Positive
from canonbench.editing.training.targets import mlp_projections, require_blocks
from canonbench.errors import CanonbenchError, UsageError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LocftSettings(FinetuneSettings):
    """Of localised finetuning."""

    lr: Positive = 1e-4
    """Adam's learning rate in the first epoch; a cosine takes it to zero."""
    depth: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Which layer's down-projection trains: 0 is the first layer, 1 the last, 0.5 the middle one."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Instead of a depth: the layer's number, counted from 0."""


def edit(model: Any, tokenizer: Any, request: EditRequest[LocftSettings]) -> Iterator[Any]:
    """Finetune the weight matrix of one down-projection in place; see ``finetune`` for the steps and the errors.

    Raises:
        UsageError: the layer does not exist.
        CanonbenchError: the layer does not have exactly one down-projection.
    """

    return finetune(model, tokenizer, request, [down_projection(model, request.hyperparameters)])


def down_projection(model: Any, settings: LocftSettings) -> str:
    """Return the name of the weight to train."""

    count = require_blocks(model)
    layer = round(settings.depth * (count - 1)) if settings.layer is None else settings.layer
    if layer >= count:
        raise UsageError(f"layer={layer}: the model has the layers 0-{count - 1}")
    found = [each for each in mlp_projections(model, range(layer, layer + 1)) if each.role == "down"]
    if len(found) != 1:
        raise CanonbenchError(
            f"layer {layer} has {len(found)} down-projections (a mixture of experts?); locft trains the only one"
        )
    return f"{found[0].name}.weight"
