"""Any adapter that peft knows, by its name and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.adapters import adapt, train
from canonbench.editing.training.settings import STRICT, FinetuneSettings, Positive
from canonbench.errors import UsageError, unknown_name
from canonbench.models import first_lines

DORA = "DORA"
UNSUITED = {
    "ADALORA": "it prunes ranks on a schedule and by a loss of its own, which this loop does not have",
    "MULTITASK_PROMPT_TUNING": "it is made for several tasks in one batch",
    "POLY": "it is made for several tasks in one batch",
    "XLORA": "it mixes adapters that have been trained before",
}
"""Kinds of adapters that ``finetune`` cannot train, with the reason."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PeftSettings(FinetuneSettings):
    """Of an adapter of peft."""

    lr: Positive = 1e-3
    """Adam's learning rate in the first epoch; a cosine takes it to zero."""
    config: str = "LORA"
    """The kind of adapter, as peft calls it: LORA, IA3, VERA, LN_TUNING, PREFIX_TUNING, PROMPT_TUNING, ..., or its
    configuration class, such as LoraConfig; or DORA, which is LORA with use_dora."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Passed on to that configuration class as they are, such as r: 8 or target_modules: [q_proj, v_proj]."""


def edit(model: Any, tokenizer: Any, request: EditRequest[PeftSettings]) -> Iterator[Any]:
    """Add the adapter to ``model`` and train it; see ``finetune`` for the steps and the errors.

    Raises:
        UsageError: peft does not have this adapter or option, or rejects an option's value.
        CanonbenchError: peft cannot add the adapter to this model.
    """

    settings = request.hyperparameters
    adapted = adapt(model, peft_config(settings.config, settings.options), request.seed)
    return train(adapted, tokenizer, request)


def peft_config(name: str, options: Mapping[str, Any]) -> Any:
    """Build the peft configuration of this name with these options, for a causal LM."""
    from peft import TaskType  # noqa: PLC0415  (slow to import)
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: PLC0415  (slow to import)

    classes = {str(kind.value): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    by_class = {cls.__name__.upper(): kind for kind, cls in classes.items()}
    kind = by_class.get(name.upper(), name.upper())
    given = dict(options)
    if kind == DORA:
        kind, given["use_dora"] = "LORA", True
    if kind in UNSUITED:
        raise UsageError(f"config={name} cannot be trained here: {UNSUITED[kind]}")
    if kind not in classes:
        raise unknown_name("peft config", name, [*classes, DORA])
    for option, value in given.items():
        if option not in classes[kind].__dataclass_fields__:
            raise unknown_name("option", option, classes[kind].__dataclass_fields__, where=f"of {name}")
        if "dropout" in option and value:
            raise UsageError(
                f"option {option}={value} of {name}: dropout is off throughout training "
                "(docs/reference/protocol.md#8-methods)"
            )
    if str(given.pop("task_type", "CAUSAL_LM")) != "CAUSAL_LM":
        raise UsageError(f"option task_type of {name} must be CAUSAL_LM, which is its default here")
    try:
        return classes[kind](task_type=TaskType.CAUSAL_LM, **given)
    except Exception as error:  # each class raises its own kinds of exceptions for bad options
        raise UsageError(f"peft refuses the options of {name}: {first_lines(error)}") from error
