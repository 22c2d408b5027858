"""Finetune every parameter (docs/reference/protocol.md#8-methods, full)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.settings import STRICT, FinetuneSettings, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FullSettings(FinetuneSettings):
    """Of full finetuning."""

    lr: Positive = 1e-6
    """Adam's learning rate in the first epoch; a cosine takes it to zero. Published: 10^-8.5 to 10^-4."""


def edit(model: Any, tokenizer: Any, request: EditRequest[FullSettings]) -> Iterator[Any]:
    """Finetune all parameters in place; see ``finetune`` for the steps and the errors."""

    return finetune(model, tokenizer, request, [name for name, _ in model.named_parameters()])
