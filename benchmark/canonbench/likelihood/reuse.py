"""Reuse the base's hidden states and log-probabilities when an edited model is scored.

Two things are reused, each where it applies:

- Hidden states. Below its first changed block an edited model computes the same as its base. The one scored first
  stores its hidden states on disk, a file per pack; later edits start from them.
- Log-probabilities. An output of a Backpack is a weighted sum of the senses of the words so far, and edited senses do
  not change the weights. So outputs before the first word with an edited sense equal the base's.
Scores are the same without reuse: if anything is missing or damaged, the full forward pass runs.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import zlib
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from canonbench.errors import UsageError
from canonbench.likelihood.blocks import (
    Shortcut,
    decoder_blocks,
    first_changed_block,
    hidden_of,
    listening,
    shortcut,
    tensor_bytes,
)
from canonbench.likelihood.engine import SCORER_VERSION
from canonbench.likelihood.forward import ForwardContext, without
from canonbench.likelihood.packs import Pack
from canonbench.likelihood.tokens import Request
from canonbench.models import VOLATILE, Fingerprint, is_of_edit, text_config
from canonbench.network import cache_dir

STATES_BUDGET = 4.0
"""Default budget for hidden states, in GiB."""
FREE_SHARE = 1 / 2
"""Share of the free disk space that one unit's hidden states may take."""
LEAST_SHARE = 1 / 8
"""Smallest share of skipped blocks that is worth the disk space."""
ABOVE_BLOCKS = frozenset({"num_sense_edits"})
"""Configuration entries that only matter above all blocks: vectors added to a Backpack's senses."""
PART = ".part"
"""Suffix of a file while it is being written."""
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reuse:
    """The hidden states and log-probabilities that scoring a model may reuse; none by default."""

    states: States | None = None
    scores: BaseScores | None = None

    def running(self, model: Any, packs: Sequence[Pack]) -> AbstractContextManager[ForwardContext]:
        """Make ``score``'s ``during`` for ``packs``: start from hidden states on disk and add missing ones.

        Args:
            model: the base or the edited model.
            packs: the packs about to run. If their hidden states do not fit the budget, none are added.
        """
        return self.states.running(model, packs) if self.states and packs else nullcontext(without)

    def unchanged(self, unit: str, requests: Sequence[Request]) -> Unchanged | None:
        """Return the scores of a unit that the edit does not change; None if they are not known."""
        tokens = self.scores.tokens[unit] if self.scores else None
        if self.scores is None or tokens is None:
            return None
        return Unchanged([unchanged_tokens(request, self.scores.words) for request in requests], tokens)


# Log-probabilities


@dataclass(frozen=True)
class BaseScores:
    """The base's scores and the words whose senses an edit changes."""

    words: frozenset[int]
    """Token ids of the edited words: outputs before the first of them equal the base's. Empty if nothing changed."""
    tokens: Mapping[str, Mapping[int, Values] | None]
    """By unit and request, the log-probabilities (nats) of the scored tokens; None for a unit that did not keep
    them."""


@dataclass(frozen=True)
class Unchanged:
    """The scores of a unit that an edit does not change."""

    counts: list[int]
    """By request, the number of scored tokens, from the first, that keep the base's log-probabilities."""
    base: Mapping[int, Values]
    """By request, the base's log-probabilities in nats."""

    def rest(self, pack: Pack) -> Pack | None:
        """Return the pack with only the scored tokens that may change; None if there are none."""
        counts = np.asarray([self.counts[request] for request in pack.request])
        return pack.only(pack.places >= counts)

    def completed(self, pack: Pack, found: Mapping[int, Values]) -> dict[int, Values]:
        """Return, by request of the pack, the base's log-probabilities followed by those ``found`` for the rest."""
        return {
            request: np.concatenate([self.base[request][: self.counts[request]], found.get(request, ())])
            for request in pack.requests
        }


def unchanged_scores(
    model: Any, base: Fingerprint, edited: Fingerprint, tokens: Mapping[str, Mapping[int, Values] | None]
) -> BaseScores | None:
    """Return the base's scores and the words that an edit of senses changes; None if anything else was edited.

    Args:
        model: the edited model.
        base: the fingerprint of its base.
        edited: the fingerprint of the edited model.
        tokens: the base's scores, see ``BaseScores``.
    """
    changed = {name for name, _ in edited.tensors.items() ^ base.tensors.items()}
    if not changed or not all(map(is_of_edit, changed)) or changed & base.tensors.keys():
        return None
    edit = model.backpack.sense_edit
    return BaseScores(frozenset(edit.token_ids[edit.deltas.any(1)].tolist()), tokens)


def keeps_tokens(model: Any) -> bool:
    """Whether to keep the log-probability of each token of the base, because an edit may leave some unchanged."""
    return bool(text_config(model).model_type == "backpack")


def unchanged_tokens(request: Request, words: Container[int]) -> int:
    """Count the scored tokens of a request, from the first, whose prefix contains none of ``words``."""
    ids, start = request
    first = next((place for place, token in enumerate(ids[:-1]) if token in words), len(ids) - 1)
    return max(0, first + 1 - start)


# Hidden states


@dataclass
class StateCache:
    """The folder ``states/`` of the cache: ``<base>/block-<n>-<probe>/``, one file per pack. One object per run."""

    budget: int
    """Most bytes of all of ``states/``; 0 turns it off."""
    say: Callable[[str], None]
    root: Path = field(default_factory=lambda: cache_dir() / "states", init=False)
    used: set[Path] = field(default_factory=set, init=False)
    """Folders used by this run; they are not removed to make room."""
    announced: bool = field(default=False, init=False)

    def between(self, model: Any, base: Fingerprint, edited: Fingerprint) -> States | None:
        """Return the hidden states that a base and an edit of it share; None if reuse saves too little.

        On a GPU it always saves too little: the blocks run faster than a disk reads hidden states.

        Args:
            model: either of the two models.
            base: the fingerprint of the base.
            edited: the fingerprint of the edited model; a model that is edited in place needs a new call each time.
        """
        _, blocks = decoder_blocks(model)
        block = first_changed_block(model, base.tensors, edited.tensors)
        if not self.budget or model.device.type != "cpu" or block < max(1, LEAST_SHARE * len(blocks)):
            return None
        return States(self, base.key, block, len(blocks))

    def announce(self, block: int, blocks: int) -> None:
        """Report once per run that blocks are skipped."""
        if not self.announced:
            self.announced = True
            share = f"{block / blocks:.0%}"
            self.say(f"scoring resumes after block {block} of {blocks}: {share} of the blocks are skipped")


@dataclass(frozen=True)
class States:
    """The hidden states of one base before the first block that an edit changes."""

    cache: StateCache
    base: str
    """Key of the base's fingerprint."""
    block: int
    """Number of blocks, from the bottom, that the edit does not change."""
    blocks: int
    """Number of all blocks."""

    @contextmanager
    def running(self, model: Any, packs: Sequence[Pack]) -> Iterator[ForwardContext]:
        """See ``Reuse.running``."""
        way = shortcut(model, self.block)
        if way is None:
            yield without
            return
        files = StateFiles(self._folder(model, way), way, hit=lambda: self.cache.announce(self.block, self.blocks))
        self.cache.used.add(files.folder)
        with suppress(OSError):
            os.utime(files.folder)  # the least recently used is removed first
        new = sum(pack.ids.size for pack in packs if not files.has(pack)) * way.token_bytes
        with _reserved(self.cache, new) if new else nullcontext(False) as fits:
            files.room = new if fits else 0
            yield files.during

    def _folder(self, model: Any, way: Shortcut) -> Path:
        """Return the folder, named by a hash of everything that can change a bit of the hidden states.

        The probe alone is not enough: it is short, and some differences only show in long texts.
        """
        config = text_config(model)
        computing = {
            name: value
            for name, value in config.to_dict().items()
            if name not in VOLATILE | ABOVE_BLOCKS and not name.endswith("token_id")
        }
        parts = (
            self.base, sorted(computing.items()), getattr(config, "_attn_implementation", None), model.device.type,
            model.dtype, torch.__version__, transformers.__version__, torch.get_num_threads(), SCORER_VERSION,
        )  # fmt: skip
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:40]
        return self.cache.root / key / f"block-{way.block}-{way.probe[:16]}"


@dataclass
class StateFiles:
    """Hidden states (B, T, D) before one block, one file per pack."""

    folder: Path
    """Folder for one shortcut, configuration, device and version of torch and transformers."""
    way: Shortcut
    room: int = 0
    """Bytes that may still be added; states that do not fit are not stored."""
    hit: Callable[[], None] = lambda: None
    """Called when a pack starts from its file."""

    def has(self, pack: Pack) -> bool:
        """Whether the hidden states of a pack are on disk."""
        return self._path(pack).exists()

    @contextmanager
    def during(self, model: Any, pack: Pack) -> Iterator[None]:
        """Skip the lower blocks if the states of ``pack`` are on disk; otherwise store them as the model runs."""
        hidden = self._read(pack)
        if hidden is not None:
            self.hit()
            with self.way.taken(model, hidden.to(model.device)):
                yield
            return
        block = decoder_blocks(model)[1][self.way.block - 1]
        with listening(block, lambda output: self._keep(pack, hidden_of(output))) if self.room else nullcontext():
            yield

    def _keep(self, pack: Pack, hidden: Tensor) -> None:
        """Write the states of a pack to disk, unless the budget is spent or the disk is full."""
        if hidden.nbytes > self.room:
            return
        path = self._path(pack)
        part = path.with_suffix(f".{os.getpid()}{PART}")
        states = hidden.contiguous().cpu()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"hidden": states}, part, metadata={"crc32": str(zlib.crc32(tensor_bytes(states)))})
            part.replace(path)
            self.room -= hidden.nbytes
        except (OSError, SafetensorError):
            part.unlink(missing_ok=True)
            self.room = 0

    def _read(self, pack: Pack) -> Tensor | None:
        """Read the states of a pack; None without a sound file. A damaged file is removed to be replaced."""
        path = self._path(pack)
        try:
            with safe_open(path, framework="pt") as file:
                hidden: Tensor = file.get_tensor("hidden").clone()  # memory-mapped data is not aligned like a tensor
                if file.metadata()["crc32"] == str(zlib.crc32(tensor_bytes(hidden))):
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


@contextmanager
def _reserved(cache: StateCache, need: int) -> Iterator[bool]:
    """Lock the cache for adding and removing states; yields False if there is no room or another process holds it.

    Readers need no lock: files appear whole, and if a file disappears, its pack runs in full.
    """
    lock = FileLock(cache.root / ".lock")
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        fits = _make_room(cache.root, need, cache.budget, cache.used)
    except (OSError, NotImplementedError):  # held (filelock's Timeout), cannot be written, or cannot be locked
        fits = False
    if not fits:
        lock.release()
    try:
        yield fits
    finally:
        lock.release()


def _make_room(root: Path, need: int, budget: int, used: Collection[Path]) -> bool:
    """Remove the least recently used states, but none of ``used``, until ``need`` bytes fit; True if they do."""
    for part in root.glob(f"*/*/*{PART}"):
        part.unlink(missing_ok=True)  # left by a killed process: this one holds the lock
    folders = [path for path in root.glob("*/*") if path.is_dir()]
    sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
    if need + sum(size for folder, size in sizes.items() if folder in used) > budget:
        return False
    total = sum(sizes.values())
    for folder in sorted(sizes.keys() - set(used), key=lambda folder: folder.stat().st_mtime):
        if total + need <= budget:
            break
        shutil.rmtree(folder)
        with suppress(OSError):
            folder.parent.rmdir()  # fails if it still holds the states of another block
        total -= sizes[folder]
    return need <= FREE_SHARE * shutil.disk_usage(root).free


def budget_bytes(gigabytes: float) -> int:
    """Convert a budget in GiB to bytes; UsageError if it is negative or not finite."""
    if not (gigabytes >= 0 and math.isfinite(gigabytes)):
        raise UsageError(f"--states-budget must be a number of GiB, 0 for off; not {gigabytes}")
    return round(gigabytes * 2**30)
