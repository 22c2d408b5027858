"""Write and read edited senses of a Backpack: the token and sense ids, and the vectors added to those senses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from canonbench.errors import CanonbenchError
from canonbench.models.fingerprint import Fingerprint, tensor_hash
from canonbench.models.load_errors import one_line

PREFIX = "backpack.sense_edit."
"""Name prefix of a SenseEdit's tensors in a BackpackForCausalLM."""


def edited_senses(edited: Fingerprint, base: Fingerprint) -> dict[str, str]:
    """The hashes of a SenseEdit's tensors that the base does not have, by name; empty without such an edit.

    Raises:
        CanonbenchError: there is such an edit and other weights have changed too.
    """
    new = {name: own for name, own in edited.tensors.items() if is_of_edit(name) and name not in base.tensors}
    rest = edited.tensors.items() - new.items()
    if new and rest != base.tensors.items():
        name = min(dict(rest ^ base.tensors.items()))
        raise CanonbenchError(f"edited senses are kept by themselves, but {name!r} is not the base's either")
    return new


def is_of_edit(name: str) -> bool:
    """Whether a tensor of this name belongs to a SenseEdit."""
    return name.startswith(PREFIX)


def write_sense_edit(model: Any, path: Path) -> None:
    """Write the SenseEdit of a BackpackForCausalLM: ``token_ids`` and ``sense_ids`` (N,), ``deltas`` (N, D).

    Raises:
        OSError, SafetensorError: the disk is full, or the file cannot be written.
    """
    state = model.backpack.sense_edit.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


@torch.no_grad()
def apply_sense_edit(model: Any, tensors: Mapping[str, str], path: Path) -> None:
    """Add the vectors to the base's senses, in place, in its own dtype.

    Args:
        model: the BackpackForCausalLM that was edited.
        tensors: the result of ``edited_senses`` when the file was written.
        path: the file of the edit.

    Raises:
        CanonbenchError: the file is corrupt, or not the one that was written.
    """
    content = stored_senses(tensors, path)
    model.edit_senses(content["token_ids"], content["sense_ids"]).deltas.copy_(content["deltas"])


def stored_senses(tensors: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Read ``token_ids`` and ``sense_ids`` (N,) and ``deltas`` (N, D) and check their hashes.

    Arguments and errors are those of ``apply_sense_edit``.
    """
    with one_line(f"the edit {path}"), safe_open(path, framework="pt") as file:
        content = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no mapping)
    for name in content.keys() | {name.removeprefix(PREFIX) for name in tensors}:
        if name not in content or tensor_hash(name, content[name]) != tensors.get(PREFIX + name):
            raise CanonbenchError(f"{path}: {name!r} is not what was written there; copy the artefact again")
    return content
