"""Sense finetuning of a Backpack (arXiv 2402.06155, section 5; docs/reference/protocol.md#8-methods, senses)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.batches import Chunks, encode_canonical
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.senses import OnlySenses, choose_senses
from canonbench.editing.training.settings import STRICT, Count, FinetuneSettings, Positive
from canonbench.errors import CanonbenchError
from canonbench.models import BackpackForCausalLM

if TYPE_CHECKING:
    from canonbench.editing.training.senses import ChosenSenses


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SensesSettings(FinetuneSettings):
    """Of sense finetuning."""

    lr: Positive = 1e-2
    """Adam's learning rate in the first epoch; a cosine takes it to zero. Published: 10^-4 to 10^-1.5."""
    k: Count = 10
    """How many senses each canonical example chooses; all that any of them chooses train. Published: 5 to 11."""
    importance: Literal["paper", "released"] = "paper"
    """How a pair of continuations counts in a sense's importance. paper: both add to it. released: as in the released
    code, the wrong one subtracts."""
    penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1000
    """λ of the importance: what a sense weighs in canonical examples, less λ times what it weighs in a chunk of
    regularisation text. Published: 1000."""
    chunks: Count = 1000
    """Chunks of regularisation text, drawn by the seed, that are looked at for that; all where there are fewer."""

    def check_model(self, model: Any) -> None:
        """Raise CanonbenchError if the model is not a Backpack or already has edited senses."""

        if not isinstance(model, BackpackForCausalLM):
            raise CanonbenchError(
                f"{type(model).__name__} has no senses: sense finetuning is for Backpacks, such as demo-backpack"
            )
        if model.backpack.sense_edit is not None:
            raise CanonbenchError("the model has edited senses already; edit the base that it was made of")


def edit(model: Any, tokenizer: Any, request: EditRequest[SensesSettings]) -> Iterator[Any]:
    """Add a vector to each of the most important senses and train these vectors; see ``finetune`` for the steps.

    The rest of the model is frozen, so everything that does not depend on the vectors is computed once per sequence,
    see ``OnlySenses``.

    Raises:
        CanonbenchError: the model is not a Backpack or already has edited senses, or there is no regularisation text.
    """

    request.hyperparameters.check_model(model)
    chosen = choose(model, tokenizer, request)
    model.edit_senses(chosen.token_ids, chosen.sense_ids)
    stand_in = OnlySenses(model)
    for _ in finetune(stand_in, tokenizer, request, ["deltas"], changes_from=stand_in.first_edited):
        yield model


def choose(model: Any, tokenizer: Any, request: EditRequest[SensesSettings]) -> ChosenSenses:
    """Choose the senses of a Backpack to train; see ``choose_senses``.

    Raises:
        CanonbenchError: there is no regularisation text.
    """

    settings = request.hyperparameters
    chunks = []
    if settings.penalty:
        if not request.regularization:
            raise CanonbenchError(
                "there is no regularisation text to tell a sense's importance from: choose a general text that has "
                "some, or set penalty=0"
            )
        draw = np.random.default_rng(request.seed)
        chunks = Chunks(model, tokenizer, request.regularization, draw).draw_distinct(settings.chunks)
    examples = encode_canonical(model, tokenizer, request)
    return choose_senses(
        model,
        examples,
        chunks,
        loss=request.loss,
        k=settings.k,
        penalty=settings.penalty,
        importance=settings.importance,
    )
