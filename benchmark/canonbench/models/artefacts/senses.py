"""Edited senses on disk: which of a Backpack's senses a vector is added to, and the vectors."""

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
"""How the names of a SenseEdit's tensors begin in a BackpackForCausalLM."""


def edited_senses(edited: Fingerprint, base: Fingerprint) -> dict[str, str]:
    """The tensors of a SenseEdit that the base does not have, and their hashes; none if there is no such edit.

    Raises:
        CanonbenchError: there is, and other weights have changed too.
    """
    new = {name: own for name, own in edited.tensors.items() if is_of_edit(name) and name not in base.tensors}
    rest = edited.tensors.items() - new.items()
    if new and rest != base.tensors.items():
        name = min(dict(rest ^ base.tensors.items()))
        raise CanonbenchError(f"edited senses are kept by themselves, but {name!r} is not the base's either")
    return new


def is_of_edit(name: str) -> bool:
    """Whether a tensor is one of a SenseEdit's."""
    return name.startswith(PREFIX)


def write_sense_edit(model: Any, path: Path) -> None:
    """Write the SenseEdit of a BackpackForCausalLM: ``token_ids`` and ``sense_ids`` (N,), ``deltas`` (N, D).

    Raises:
        OSError, SafetensorError: the disk is full, or cannot be written.
    """
    state = model.backpack.sense_edit.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


@torch.no_grad()
def apply_sense_edit(model: Any, tensors: Mapping[str, str], path: Path) -> None:
    """Add the vectors to the senses of the base, in place, in its own dtype.

    Args:
        model: the BackpackForCausalLM that was edited.
        tensors: what ``edited_senses`` said when the file was written.
        path: the file.

    Raises:
        CanonbenchError: the file is corrupt, or not the one that was written.
    """
    content = stored_senses(tensors, path)
    model.edit_senses(content["token_ids"], content["sense_ids"]).deltas.copy_(content["deltas"])


def stored_senses(tensors: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """``token_ids`` and ``sense_ids`` (N,), ``deltas`` (N, D), each checked; arguments and errors as above."""
    with one_line(f"the edit {path}"), safe_open(path, framework="pt") as file:
        content = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no mapping)
    for name in content.keys() | {name.removeprefix(PREFIX) for name in tensors}:
        if name not in content or tensor_hash(name, content[name]) != tensors.get(PREFIX + name):
            raise CanonbenchError(f"{path}: {name!r} is not what was written there; copy the artefact again")
    return content
