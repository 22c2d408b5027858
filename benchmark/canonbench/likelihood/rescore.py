"""Score an edited model from where it first differs: below, its hidden states are those of its base, bit for bit.

block = first_changed_block(base, base_fingerprint.tensors, edited_fingerprint.tensors)
if pays(base, block) and (way := shortcut(base, block)):
    states = HiddenStates(folder, way, room=2**30)
    score(base, pack, during=states.recording)         # for each pack
    if shortcut(edited, block) == way:
        score(edited, pack, during=states.resuming)    # packs that were not kept run in full

Below the block the two compute the same, so either may do the recording.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from canonbench.likelihood.blocks import decoder_blocks, hidden_of, listening
from canonbench.likelihood.forward import hidden_rows
from canonbench.likelihood.pack import Pack
from canonbench.likelihood.route import probe_pack, route

LEAST_SHARE = 1 / 8
"""Of the blocks, to be skipped. Below it, what is saved is not worth the disk."""
PART = ".part"
"""How the names of files end that are being written."""


@dataclass(frozen=True)
class Shortcut:
    """How to enter a model at one block, found by trying; models whose shortcuts are equal share their states."""

    block: int
    """Blocks that the states have been through."""
    arity: int | None
    """Entries of the tuple that a block returns; None if it returns the hidden states alone."""
    token_bytes: int
    """Size of one token's state."""
    probe: str
    """SHA-256 of the states that the model itself has there on a probe."""

    @contextmanager
    def taken(self, model: Any, hidden: Tensor) -> Iterator[None]:
        """Let the lower blocks answer with ``hidden`` (B, T, D) instead of running."""
        answer = hidden if self.arity is None else (hidden, *[None] * (self.arity - 1))
        skipped = decoder_blocks(model)[1][: self.block]
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


@dataclass
class HiddenStates:
    """Hidden states (B, T, D) before one block, a file per pack."""

    folder: Path
    """For models of one shortcut, device and version of torch and transformers."""
    way: Shortcut
    room: int = 0
    """Bytes that may still be added; what does not fit is not kept."""

    def has(self, pack: Pack) -> bool:
        """Whether a pack's states were kept."""
        return self._path(pack).exists()

    @contextmanager
    def recording(self, model: Any, pack: Pack) -> Iterator[None]:
        """Keep the states of a pack while a model runs it."""
        _, blocks = decoder_blocks(model)
        with listening(blocks[self.way.block - 1], lambda output: self._keep(pack, hidden_of(output))):
            yield

    @contextmanager
    def resuming(self, model: Any, pack: Pack) -> Iterator[None]:
        """Let the lower blocks answer with the states that were kept of a pack; if none were, let them run."""
        hidden = self._read(pack)
        if hidden is None:
            yield
            return
        with self.way.taken(model, hidden.to(model.device)):
            yield

    def _keep(self, pack: Pack, hidden: Tensor) -> None:
        """Write the states of a pack, unless the room is spent or the disk is full."""
        path = self._path(pack)
        if hidden.nbytes > self.room or path.exists():
            return
        part = path.with_suffix(f".{os.getpid()}{PART}")
        states = hidden.contiguous().cpu()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"hidden": states}, part, metadata={"crc32": _checksum(states)})
            part.replace(path)
            self.room -= hidden.nbytes
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)
            self.room = 0

    def _read(self, pack: Pack) -> Tensor | None:
        """The states of a pack, if they were kept; a damaged file is removed, so that they can be kept again."""
        path = self._path(pack)
        try:
            with safe_open(path, framework="pt") as file:
                hidden: Tensor = file.get_tensor("hidden").clone()  # a mapped file is not aligned as tensors are
                if file.metadata()["crc32"] == _checksum(hidden):
                    return hidden
        except (OSError, SafetensorError, KeyError, TypeError):
            pass
        with suppress(OSError):
            path.unlink()
        return None

    def _path(self, pack: Pack) -> Path:
        digest = hashlib.sha256(repr(pack.ids.shape).encode())
        for array in (pack.ids, pack.depths, pack.ends):
            digest.update(b"" if array is None else array.tobytes())
        return self.folder / f"{digest.hexdigest()}.safetensors"


def pays(model: Any, block: int) -> bool:
    """Whether starting at a block is worth it: not on a GPU, which runs the blocks sooner than a disk reads states."""
    _, blocks = decoder_blocks(model)
    return model.device.type == "cpu" and block >= max(1, LEAST_SHARE * len(blocks))


@torch.inference_mode()
def shortcut(model: Any, block: int) -> Shortcut | None:
    """The way into a model at a block; None unless, on a probe, it goes on from there to the very same bits."""
    _, blocks = decoder_blocks(model)
    if not 0 < block <= len(blocks) or route(model).head == "logits":
        return None
    pack = probe_pack(model)
    outputs: list[Any] = []
    with listening(blocks[block - 1], outputs.append):
        whole = hidden_rows(model, pack)
    if len(outputs) != 1 or hidden_of(outputs[0]).shape[:2] != pack.ids.shape:
        return None
    arity = len(outputs[0]) if isinstance(outputs[0], tuple) else None
    hidden = hidden_of(outputs[0]).contiguous().clone()
    way = Shortcut(block, arity, hidden.shape[-1] * hidden.itemsize, hashlib.sha256(_bytes(hidden)).hexdigest())
    try:
        with way.taken(model, hidden):
            resumed = hidden_rows(model, pack)
    except Exception:  # a model that needs more of its lower blocks than their states says so in its own way
        return None
    return way if torch.equal(resumed, whole) else None


def _checksum(tensor: Tensor) -> str:
    return str(zlib.crc32(_bytes(tensor)))


def _bytes(tensor: Tensor) -> memoryview:
    """The content of a contiguous tensor."""
    data: memoryview = tensor.cpu().reshape(-1).view(torch.uint8).numpy().data
    return data
