"""Finetune the biases only (BitFit)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.settings import STRICT, FinetuneSettings, Positive
from canonbench.errors import CanonbenchError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BitfitSettings(FinetuneSettings):
    """Of BitFit."""

    lr: Positive = 1e-3
    """Adam's learning rate in the first epoch; a cosine takes it to zero."""
    norms: bool = False
    """Whether the scales of the norm layers train too; what is left to train in models without biases."""


def edit(model: Any, tokenizer: Any, request: EditRequest[BitfitSettings]) -> Iterator[Any]:
    """Finetune all biases in place; see ``finetune`` for the steps and the errors.

    Raises:
        CanonbenchError: the model has no biases, and ``norms`` is off.
    """

    return finetune(model, tokenizer, request, bias_names(model, norms=request.hyperparameters.norms))


def bias_names(model: Any, *, norms: bool) -> list[str]:
    """Return the names of all bias parameters and, if ``norms``, of all parameters of norm layers."""
    of_norms = {
        id(parameter)
        for module in model.modules()
        if "norm" in type(module).__name__.lower()
        for parameter in module.parameters(recurse=False)
    }
    names = [
        name
        for name, parameter in model.named_parameters()
        if name.endswith("bias") or (norms and id(parameter) in of_norms)
    ]
    if not names:
        raise CanonbenchError(f"{type(model).__name__} has no biases; train the scales of its norms with norms=true")
    return names
