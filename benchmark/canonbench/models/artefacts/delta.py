"""Deltas: write and read the full new values of the weights that an edit changed.

``as_scored`` shows an adapter in training as the merged model that its saved artefact will be scored as.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.edit_file import NotKept
from canonbench.models.artefacts.peft import merges_exactly, try_merging
from canonbench.models.fingerprint import Fingerprint, tensor_hash
from canonbench.models.load_errors import one_line


@contextmanager
def as_scored(model: nn.Module) -> Iterator[Any]:
    """Yield the model that ``load_model`` would make of ``model``'s artefact, without copying the whole model.

    An adapter that ``load_model`` merges, or one that changes nothing, is merged in place, by the same code in the same
    order. The plain merged model is yielded, and its scores are bitwise those of the artefact. On exit every weight,
    module and setting is restored bitwise, so that training can continue. Meanwhile the weights under the adapter are
    held twice. Any other model is yielded unchanged.

    The model is in evaluation mode inside; on exit every module returns to its former mode.
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
    """Yield the merged plain model; restore the adapter on exit."""
    base = model.get_base_model()
    states = [_attributes(each) for each in (base.config, *model.modules())]
    weights = _weights_below_adapters(model)
    copies = [weight.detach().clone() for weight in weights]
    places = [weight.data for weight in weights]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns that tied embeddings come apart; it is undone below
            merged = model.merge_and_unload()
        yield merged
    finally:
        for thing, attributes in states:
            _restore(thing, attributes)
        for weight, place, content in zip(weights, places, copies, strict=True):
            place.copy_(content)  # in the same memory, because another weight may be tied to it
            weight.data = place


def _weights_below_adapters(model: nn.Module) -> list[Tensor]:
    """The weights that merging may change, without duplicates."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415  (slow to import)

    layers = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    found = {id(weight): weight for layer in layers for weight in (*layer.parameters(), *layer.buffers())}
    return list(found.values())


def _attributes(thing: Any) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """An object with all its attributes, and shallow copies of those that are lists, sets or dictionaries."""
    return thing, {
        name: (value, copy.copy(value) if isinstance(value, list | set | dict) else None)
        for name, value in vars(thing).items()
    }


def _restore(thing: Any, attributes: dict[str, tuple[Any, Any]]) -> None:
    """Restore an object's attributes; containers keep their identity and get their old content back."""
    vars(thing).clear()
    for name, (value, content) in attributes.items():
        if isinstance(content, list):
            value[:] = content
        elif content is not None:
            value.clear()
            value.update(content)
        vars(thing)[name] = value


OTHER = "a different architecture"


def changed_tensors(edited: Fingerprint, base: Fingerprint) -> dict[str, str]:
    """The tensors whose values differ from the base's, with their hashes.

    Raises:
        NotKept: names, shapes, dtypes or the configuration differ from the base's, or no value differs.
    """
    if odd := sorted(edited.tensors.keys() ^ base.tensors.keys()):
        owner = "only the edited model" if odd[0] in edited.tensors else "only the base"
        raise NotKept(f"{OTHER}: {owner} has the weight {odd[0]!r} ({len(odd)} such in all)")
    for name, own in edited.forms.items():
        if own != base.forms[name]:
            raise NotKept(f"{OTHER}: {name!r} is {own}, in the base {base.forms[name]}")
    if edited.config != base.config:
        raise NotKept(f"{OTHER}: the configuration is not the base's, and only weights are kept")
    changed = {name: own for name, own in edited.tensors.items() if own != base.tensors[name]}
    if not changed:
        raise NotKept("the unedited model: every weight is the base's")
    return changed


def write_delta(model: Any, changed: Mapping[str, str], path: Path) -> None:
    """Write the changed tensors to ``path``, without a second copy of the model in memory.

    Raises:
        NotKept: weights that are tied in the base now differ.
        OSError, SafetensorError: the disk is full, or the file cannot be written.
    """
    state, tied = model.state_dict(), getattr(model, "all_tied_weights_keys", {})
    for name, source in tied.items():
        if changed.get(name) != changed.get(source):
            raise NotKept(f"{OTHER}: {name!r} and {source!r} are tied in the base, and have come apart")
    tensors: dict[str, Tensor] = {}
    owners: set[str] = set()
    places: set[int] = set()
    for name in sorted(changed):
        if (owner := tied.get(name, name)) in owners:
            continue  # tied in the base: written once
        owners.add(owner)
        tensor = state[name].contiguous()
        # weights that only the method tied are written separately, because the base holds them separately
        tensors[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
        places.add(tensors[name].untyped_storage().data_ptr())
    save_file(tensors, path)


@torch.no_grad()
def apply_delta(model: Any, changed: Mapping[str, str], path: Path) -> None:
    """Copy the new values into the base model, in place, in its own dtype.

    Args:
        model: the base; its weights have the names and shapes of the edited model's.
        changed: the result of ``changed_tensors`` when the delta was written.
        path: the delta's file.

    Raises:
        CanonbenchError: the file is missing, corrupt, or not the one that was written.
    """
    state = model.state_dict()
    for name, value in stored_values(state, changed, path):
        state[name].copy_(value)


def stored_values(state: Mapping[str, Tensor], changed: Mapping[str, str], path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the new values in order of name; each is read lazily and checked by its hash, tied weights only once.

    Args:
        state: the base's state dict, which shows which weights are tied.
        changed: the result of ``changed_tensors`` when the delta was written.
        path: the delta's file.

    Raises:
        CanonbenchError: the file is missing, corrupt, or not the one that was written.
    """
    if foreign := sorted(changed.keys() - state.keys()):
        raise CanonbenchError(f"{path}: the base has no weight {foreign[0]!r}, which was edited")
    rest = dict(changed)
    with ExitStack() as stack:
        with one_line(f"the edit {path}"):
            file = stack.enter_context(safe_open(path, framework="pt"))
        for name in sorted(file.keys()):
            with one_line(f"the edit {path}"):
                value = file.get_tensor(name).clone()  # a copy, so that later changes of the file do not matter
            if tensor_hash(name, value) != changed.get(name):
                raise CanonbenchError(f"{path}: {name!r} is not what was written there; copy the artefact again")
            if rest.pop(name, None) is None:
                continue  # tied to a weight that was already read
            written = {other for other in rest if state[other].data_ptr() == state[name].data_ptr()}
            for other in written:
                if rest.pop(other) != changed[name]:
                    raise CanonbenchError(f"{path}: {other!r} is not tied to {name!r}, as it was when edited")
            yield name, value
    if rest:
        raise CanonbenchError(f"{path} lacks {len(rest)} of the edited weights, {min(rest)!r} first")
