"""Score an edited model from where it first differs: below, its hidden states are those of its base.

block = first_changed_block(base, base_fingerprint.tensors, edited_fingerprint.tensors)
if pays(base, block):
    states = HiddenStates(folder, block, budget)
    states.record_probe(base)
    score(base, pack, during=states.recording)     # for each pack
    if (way := shortcut(edited, states)) is not None:
        score(edited, pack, during=way.resuming)   # packs that were not kept run in full
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from canonbench.likelihood.blocks import decoder_blocks, hidden_of, listening
from canonbench.likelihood.forward import hidden_rows
from canonbench.likelihood.pack import Pack
from canonbench.likelihood.route import probe_pack

LEAST_SHARE = 1 / 8
"""Of the blocks, to be skipped. Below it, what is saved is not worth the disk."""


class HiddenStates:
    """Hidden states (B, T, D) of a base model before one block, a file per pack."""

    def __init__(self, folder: Path, block: int, budget: int) -> None:
        """Use the states in ``folder`` and add to them.

        Args:
            folder: belongs to one base model (by fingerprint), device, and version of torch and transformers.
            block: the number of blocks that the states have been through.
            budget: bytes that all the folder's files may take; what does not fit is not kept.
        """
        self.folder, self.block = folder / f"block-{block}", block
        self.folder.mkdir(parents=True, exist_ok=True)
        self._left = budget - sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    def _keep(self, pack: Pack, hidden: Tensor) -> None:
        """Write the states of a pack, unless the budget is spent or the disk is full."""
        path = self._path(pack)
        if path.exists() or hidden.nbytes > self._left:
            return
        part = path.with_suffix(f".{os.getpid()}")
        try:
            save_file({"hidden": hidden.contiguous().cpu()}, part)
            part.replace(path)
            self._left -= hidden.nbytes
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)
            self._left = 0

    @contextmanager
    def recording(self, model: Any, pack: Pack) -> Iterator[None]:
        """Keep the states of a pack while a model runs it."""
        _, blocks = decoder_blocks(model)
        with listening(blocks[self.block - 1], lambda output: self._keep(pack, hidden_of(output))):
            yield

    @torch.inference_mode()
    def record_probe(self, base: Any) -> None:
        """Keep what ``shortcut`` compares with."""
        pack = probe_pack(base)
        with self.recording(base, pack):
            hidden_rows(base, pack)

    def of(self, pack: Pack, device: torch.device) -> Tensor | None:
        """The states of a pack, if they were kept."""
        path = self._path(pack)
        try:
            return load_file(path, device=str(device))["hidden"]
        except (OSError, SafetensorError, KeyError):
            return None

    def _path(self, pack: Pack) -> Path:
        digest = hashlib.sha256(repr(pack.ids.shape).encode())
        for array in (pack.ids, pack.depths, pack.ends):
            digest.update(b"" if array is None else array.tobytes())
        return self.folder / f"{digest.hexdigest()}.safetensors"


@dataclass(frozen=True)
class Shortcut:
    """How to resume one edited model. Made by ``shortcut``, which has tried it."""

    states: HiddenStates
    arity: int | None
    """Entries of the tuple that a block returns; None if it returns the hidden states alone."""

    @contextmanager
    def resuming(self, model: Any, pack: Pack) -> Iterator[None]:
        """Let the lower blocks answer with the states that were kept of a pack; if none were, let them run."""
        hidden = self.states.of(pack, model.device)
        if hidden is None:
            yield
            return
        answer = hidden if self.arity is None else (hidden, *[None] * (self.arity - 1))
        skipped = decoder_blocks(model)[1][: self.states.block]
        own = [vars(block).get("forward") for block in skipped]
        try:
            for block in skipped:
                block.forward = lambda *_args, **_kwargs: answer
            yield
        finally:
            for block, forward in zip(skipped, own, strict=True):
                del block.forward
                if forward is not None:
                    block.forward = forward


def pays(model: Any, block: int) -> bool:
    """Whether starting at a block is worth it: not on a GPU, which runs the blocks sooner than a disk reads states."""
    _, blocks = decoder_blocks(model)
    return model.device.type == "cpu" and block >= max(1, LEAST_SHARE * len(blocks))


@torch.inference_mode()
def shortcut(edited: Any, states: HiddenStates) -> Shortcut | None:
    """The way to resume an edited model; None unless, on a probe, it computes these states and goes on from them."""
    _, blocks = decoder_blocks(edited)
    pack = probe_pack(edited)
    if states.of(pack, edited.device) is None or len(blocks) < states.block:
        return None
    outputs: list[Any] = []
    with listening(blocks[states.block - 1], outputs.append):
        whole = hidden_rows(edited, pack)
    way = Shortcut(states, len(outputs[0]) if isinstance(outputs[0], tuple) else None)
    with way.resuming(edited, pack):
        resumed = hidden_rows(edited, pack)
    return way if _same(resumed, whole) else None


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal but for the rounding of sums taken in another order."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))
