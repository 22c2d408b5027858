"""The weights that an edit changed, whole, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from canonbench.errors import CanonbenchError
from canonbench.models.edit_file import NotKept
from canonbench.models.fingerprint import Fingerprint, tensor_hash
from canonbench.models.trouble import one_line

OTHER = "a different architecture"


def changed_tensors(edited: Fingerprint, base: Fingerprint) -> dict[str, str]:
    """The tensors whose values differ from the base's, and their hashes.

    Raises:
        NotKept: tensors, shapes, dtypes or the configuration are not the base's, or no value differs.
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
    """Write the new values; the tensors are written from where they are, so the model is not held twice.

    Raises:
        NotKept: weights that are tied in the base have come apart.
        OSError, SafetensorError: the disk is full, or cannot be written.
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
            continue  # as the base ties them: written once
        owners.add(owner)
        tensor = state[name].contiguous()
        # the method has tied what the base does not: each has its own, for so the base will hold them
        tensors[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in places else tensor
        places.add(tensors[name].untyped_storage().data_ptr())
    save_file(tensors, path)


@torch.no_grad()
def apply_delta(model: Any, changed: Mapping[str, str], path: Path) -> None:
    """Put the new values into the base model, in place, in its own dtype.

    Args:
        model: the base; its weights have the names and shapes of the edited model's.
        changed: what ``changed_tensors`` said when the delta was written.
        path: the file.

    Raises:
        CanonbenchError: the file is missing, corrupt, or not the one that was written.
    """
    state = model.state_dict()
    for name, value in stored_values(state, changed, path):
        state[name].copy_(value)


def stored_values(state: Mapping[str, Tensor], changed: Mapping[str, str], path: Path) -> Iterator[tuple[str, Tensor]]:
    """The new values, ascending by name, each read when it is asked for and checked; of tied weights one.

    Args:
        state: the base's state dict, which says what is tied.
        changed: what ``changed_tensors`` said when the delta was written.
        path: the file.

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
                value = file.get_tensor(name).clone()  # what is checked is what is used, whatever becomes of the file
            if tensor_hash(name, value) != changed.get(name):
                raise CanonbenchError(f"{path}: {name!r} is not what was written there; copy the artefact again")
            if rest.pop(name, None) is None:
                continue  # tied to one that was read already
            written = {other for other in rest if state[other].data_ptr() == state[name].data_ptr()}
            for other in written:
                if rest.pop(other) != changed[name]:
                    raise CanonbenchError(f"{path}: {other!r} is not tied to {name!r}, as it was when edited")
            yield name, value
    if rest:
        raise CanonbenchError(f"{path} lacks {len(rest)} of the edited weights, {min(rest)!r} first")
