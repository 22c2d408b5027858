"""An adapter as it will be scored once it is kept and opened again, while it is still being trained."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from canonbench.models.adapter import merges_exactly, try_merging


@contextmanager
def as_scored(model: nn.Module) -> Iterator[Any]:
    """The model that ``load_model`` would make of ``model``'s artefact, without a second copy of it.

    An adapter that ``load_model`` merges, or one that changes nothing, is merged in place, by the same code in the same
    order, and what is yielded is the plain model below it: scores inside are bit for bit those of the artefact.
    Afterwards every weight, module and setting is what it was, bit for bit, so that training goes on as if nothing had
    happened. In between, the weights under the adapter are held twice. Any other model is yielded as it is.

    Inside, the model is in evaluation mode; afterwards every module is in the mode that it was in.
    """
    from peft import PeftModel  # noqa: PLC0415  (seconds to import)

    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        merging = try_merging(model) if isinstance(model, PeftModel) else "impossible"
        is_merged = merging == "changes nothing" or (merging == "changes" and merges_exactly(model))
        yield stack.enter_context(_merged(model)) if is_merged else model


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _merged(model: Any) -> Iterator[nn.Module]:
    """The merged plain model; afterwards the adapter is back."""
    base = model.get_base_model()
    states = [_attributes(each) for each in (base.config, *model.modules())]
    weights = _weights_below_adapters(model)
    copies = [weight.detach().clone() for weight in weights]
    places = [weight.data for weight in weights]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tied embeddings part is the adapter's doing, and undone below
            merged = model.merge_and_unload()
        yield merged
    finally:
        for thing, attributes in states:
            _restore(thing, attributes)
        for weight, place, content in zip(weights, places, copies, strict=True):
            place.copy_(content)  # where it was, because another weight may be tied to it
            weight.data = place


def _weights_below_adapters(model: nn.Module) -> list[Tensor]:
    """The weights that merging may change, each once."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415  (slow to import)

    layers = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    found = {id(weight): weight for layer in layers for weight in (*layer.parameters(), *layer.buffers())}
    return list(found.values())


def _attributes(thing: Any) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """All attributes of an object, and copies of those that are lists or dictionaries."""
    return thing, {
        name: (value, copy.copy(value) if isinstance(value, list | set | dict) else None)
        for name, value in vars(thing).items()
    }


def _restore(thing: Any, attributes: dict[str, tuple[Any, Any]]) -> None:
    """Give an object back the attributes it had; containers keep their identity and get back what was in them."""
    vars(thing).clear()
    for name, (value, content) in attributes.items():
        if isinstance(content, list):
            value[:] = content
        elif content is not None:
            value.clear()
            value.update(content)
        vars(thing)[name] = value
