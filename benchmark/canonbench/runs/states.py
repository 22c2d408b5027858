"""Hidden states of base models on disk, under one budget: an edited model is scored from where it first differs.

    cache = StateCache(budget, progress.say)
    states = cache.between(model, base.fingerprint, edited.fingerprint)     # None where it does not pay
    measure(Subject(model, edited.fingerprint), units, store, progress, ..., states=states)

Below its first changed block an edited model computes what its base computes. So whichever of the two is scored first
leaves its states, pack by pack, and all edits that change nothing below are resumed from them: no model is ever run for
the sake of recording. Nothing depends on the states but time: what is not there, or damaged, is run in full.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock

from canonbench.errors import UsageError
from canonbench.likelihood.blocks import decoder_blocks, first_changed_block
from canonbench.likelihood.engine import SCORER_VERSION
from canonbench.likelihood.forward import Surrounding
from canonbench.likelihood.pack import Pack
from canonbench.likelihood.rescore import LEAST_SHARE, PART, HiddenStates, Shortcut, pays, shortcut
from canonbench.models.face import text_config
from canonbench.models.fingerprint import VOLATILE, Fingerprint
from canonbench.offline import cache_dir
from canonbench.runs.store import content_key

STATES_BUDGET = 4.0
"""Default budget in GiB."""
FREE_SHARE = 1 / 2
"""Of what is free on the disk: no more is taken at once."""
ABOVE_BLOCKS = frozenset({"num_sense_edits"})
"""Entries of a configuration that only matter above all blocks: vectors added to a Backpack's senses."""


@dataclass
class StateCache:
    """``states/`` of the cache: ``<base>/block-<n>-<probe>/``, a file per pack. One per run."""

    budget: int
    """Bytes that all of ``states/`` may take."""
    say: Callable[[str], None]
    used: set[Path] = field(default_factory=set, init=False)
    """Folders that this run has used; they are not removed to make room."""
    has_said: bool = field(default=False, init=False)

    @property
    def root(self) -> Path:
        """Where the states of all bases lie."""
        return cache_dir() / "states"

    def between(self, model: Any, base: Fingerprint, edited: Fingerprint) -> States | None:
        """What scoring a base, or one edit of it, is resumed from and leaves for others; None where it does not pay.

        Args:
            model: either of the two.
            base: what the unedited model is.
            edited: what the edited one is, as it is now: a model that is changed in place needs a call each time.
        """
        block = first_changed_block(model, base.tensors, edited.tensors)
        if not self.budget or not pays(model, block):
            return None
        return States(self, base.key, block, len(decoder_blocks(model)[1]))

    def announce(self, block: int, blocks: int) -> None:
        """Say that scoring resumes, once in a run."""
        if not self.has_said:
            self.has_said = True
            share = f"{block / blocks:.0%}"
            self.say(f"scoring resumes after block {block} of {blocks}: {share} of the blocks are skipped")


@dataclass(frozen=True)
class States:
    """The hidden states of one base at and below the first block that one edit changes."""

    cache: StateCache
    base: str
    """Key of the base's fingerprint."""
    block: int
    """Blocks from the bottom that the edit leaves as they are."""
    blocks: int
    """All blocks."""

    @contextmanager
    def over(self, model: Any, packs: Sequence[Pack]) -> Iterator[Surrounding]:
        """What ``score``'s ``during`` is to be while a model runs ``packs``: resumes what is kept, keeps what is not.

        Args:
            model: the base, or the edit.
            packs: what is about to be run. If their states do not fit the budget, none are kept.
        """
        kept = self._kept(model)
        new = [pack for pack in packs if self._is_new(self._source(kept, pack))]
        with self._adding(model, new) as added:

            @contextmanager
            def during(model: Any, pack: Pack) -> Iterator[None]:
                source = self._source(kept, pack)
                if source is not None:
                    self.cache.announce(source.way.block, self.blocks)
                resumed = source.resuming(model, pack) if source else nullcontext()
                recorded = added.recording(model, pack) if added and self._is_new(source) else nullcontext()
                with resumed, recorded:
                    yield

            yield during

    def _kept(self, model: Any) -> list[HiddenStates]:
        """What the model can be resumed from, the deepest block first."""
        names = [path.name.split("-")[1] for path in self._base_folder(model).glob("block-*-*")]
        blocks = sorted({int(name) for name in names if name.isdecimal()}, reverse=True)
        ways = [shortcut(model, block) for block in blocks if block <= self.block]
        return [HiddenStates(self._folder(model, way), way) for way in ways if way is not None]

    def _source(self, kept: Sequence[HiddenStates], pack: Pack) -> HiddenStates | None:
        """The deepest states that hold a pack."""
        found = next((states for states in kept if states.has(pack)), None)
        if found is not None and found.folder not in self.cache.used:
            self.cache.used.add(found.folder)
            with suppress(OSError):
                os.utime(found.folder)  # of all folders the last to make room
        return found

    def _is_new(self, source: HiddenStates | None) -> bool:
        """Whether states at this edit's own block would save enough over those that are there."""
        return source is None or self.block - source.way.block >= LEAST_SHARE * self.blocks

    @contextmanager
    def _adding(self, model: Any, packs: Sequence[Pack]) -> Iterator[HiddenStates | None]:
        """Where to add the states of ``packs``; None if there is no room for them."""
        way = shortcut(model, self.block) if packs else None
        if way is None:
            yield None
            return
        folder = self._folder(model, way)
        self.cache.used.add(folder)
        need = way.token_bytes * sum(pack.ids.size for pack in packs)
        with _reserved(self.cache.root, need, self.cache.budget, self.cache.used) as fits:
            yield HiddenStates(folder, way, need) if fits else None

    def _folder(self, model: Any, way: Shortcut) -> Path:
        return self._base_folder(model) / f"block-{way.block}-{way.probe[:16]}"

    def _base_folder(self, model: Any) -> Path:
        """Of all that moves the states of long texts by a bit, which the probe, being short, may not show."""
        config = text_config(model)
        computing = {
            name: value
            for name, value in config.to_dict().items()
            if name not in VOLATILE | ABOVE_BLOCKS and not name.endswith("token_id")
        }
        key = content_key(
            self.base, sorted(computing.items()), getattr(config, "_attn_implementation", None), model.device.type,
            model.dtype, torch.__version__, transformers.__version__, torch.get_num_threads(), SCORER_VERSION,
        )  # fmt: skip
        return self.cache.root / key


@contextmanager
def _reserved(root: Path, need: int, budget: int, used: Collection[Path]) -> Iterator[bool]:
    """Be the only process that adds and removes states; False if there is no room, or another process is at it.

    Readers need no lock: files appear whole, and a file that disappears means that a pack is run in full.
    """
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        fits = _make_room(root, need, budget, used)
    except (OSError, NotImplementedError):  # held (filelock's Timeout), cannot be written, or cannot be locked
        fits = False
    if not fits:
        lock.release()
    try:
        yield fits
    finally:
        lock.release()


def _make_room(root: Path, need: int, budget: int, used: Collection[Path]) -> bool:
    """Remove the least recently used states, but none of ``used``, until ``need`` bytes fit; whether they do."""
    for part in root.glob(f"*/*/*{PART}"):
        part.unlink(missing_ok=True)  # of a process that was killed: nobody else is writing
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
            folder.parent.rmdir()  # unless it holds the states of another block
        total -= sizes[folder]
    return need <= FREE_SHARE * shutil.disk_usage(root).free


def budget_bytes(gigabytes: float) -> int:
    """The budget in bytes; UsageError if it is no size."""
    if not (gigabytes >= 0 and math.isfinite(gigabytes)):
        raise UsageError(f"--states-budget must be a number of GiB, 0 for off; not {gigabytes}")
    return round(gigabytes * 2**30)
