"""The hyperparameters that the finetuning methods share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FinetuneSettings:
    """Settings of the loop in ``editing.training.finetune``; a method's own settings come on top
    (docs/reference/protocol.md#8-methods)."""

    lr: Positive = 1e-5
    """Adam's learning rate in the first epoch; a cosine takes it to zero, one step per epoch."""
    epochs: Count = 10
    """Passes over the canonical examples; each ends with a candidate. Published: 10."""
    batch_size: Count = 5
    """Canonical examples per optimiser step. Published: 5."""
    accumulation: Literal["all", "released"] = "all"
    """all: a step takes the mean gradient of its batch. released: as the released code does, only that of the batch's
    last example counts, and a batch that is not full takes no step."""
    regularizer: Literal["kl", "l2", "ewc", "none"] = "kl"
    """What holds the model to its base. kl: the predictions on regularisation text; l2: the trained tensors; ewc: the
    same, weighted by the Fisher information of regularisation text. Published: kl."""
    regularizer_weight: Positive = 0.3
    """Of the regulariser, in the training loss. Published for kl: 0.1 to 1. It multiplies a sum over a chunk's tokens,
    so it is some hundred times a weight per token."""
    fisher_chunks: Count = 100
    """Chunks of regularisation text that ewc estimates the Fisher information from."""
