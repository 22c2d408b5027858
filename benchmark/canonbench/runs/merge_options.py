"""How edits are to be merged: what was asked for, held against what it means for edits of their kind."""

from __future__ import annotations

from typing import NamedTuple

from canonbench.editing.merge_values import Merging
from canonbench.errors import LARGEST_COUNT, LARGEST_SEED, CanonbenchError, UsageError, require_whole, unknown_name
from canonbench.runs.merge_record import How

HOWS: dict[str, tuple[How, ...]] = {
    "delta": ("mean", "ties", "dare"),
    "peft": ("mean", "ties", "dare"),
    "senses": ("union",),
}
"""What edits of each kind can be merged by, the default first."""
LEAGUE = "1e-3"
"""Whose candidates are taken from runs when nobody says: the widest, in which most tasks have one."""
DENSITY = 0.2
"""Share of the changes that ``ties`` and ``dare`` keep when nobody says (Yadav et al. 2023, section 4)."""


class Options(NamedTuple):
    """As given; None where nothing was."""

    how: str | None = None
    league: str | None = None
    edit_seed: int | None = None
    density: float | None = None
    rank: int | None = None
    seed: int | None = None


class Resolved(NamedTuple):
    """As meant; None where it means nothing."""

    how: How
    density: float | None
    rank: int | None
    seed: int | None
    league: str | None

    @property
    def merging(self) -> Merging:
        """For tensors and adapters."""
        assert self.how != "union", "senses have their own"
        return Merging(self.how, 1.0 if self.density is None else self.density)


def require_possible(options: Options) -> None:
    """What can be told before anything is read.

    Raises:
        UsageError: an unknown way to merge, or a number that is out of range.
    """
    every = sorted({how for hows in HOWS.values() for how in hows})
    if options.how is not None and options.how not in every:
        raise unknown_name("--how", options.how, every)
    if options.density is not None and not 0 < options.density <= 1:
        raise UsageError(f"--density must be above 0 and at most 1, got {options.density}")
    for name, given, least, most in (
        ("--rank", options.rank, 1, LARGEST_COUNT),
        ("--seed", options.seed, 0, LARGEST_SEED),
        ("--edit-seed", options.edit_seed, 0, LARGEST_SEED),
    ):
        if given is not None:
            require_whole(name, given, least, most)


def resolved(options: Options, kind: str, *, from_runs: bool) -> Resolved:
    """The options with their defaults, for edits of a kind.

    Raises:
        UsageError: an option that means nothing here.
        CanonbenchError: edits of this kind cannot be merged.
    """
    if kind not in HOWS:
        raise CanonbenchError(f"{kind} edits cannot be merged: they change no weights")
    how = next((each for each in HOWS[kind] if options.how in (None, each)), None)
    if how is None:
        raise UsageError(f"--how {options.how} is not for edits of kind {kind}; give {' or '.join(HOWS[kind])}")
    drops = how in ("ties", "dare")
    for name, given, meant in (
        ("--density", options.density, drops or f"{how} drops no changes"),
        ("--seed", options.seed, how == "dare" or "only dare draws at random"),
        ("--rank", options.rank, kind == "peft" or f"edits of kind {kind} have none"),
        ("--league", options.league, from_runs or "it chooses from runs, and only artefacts are given"),
        ("--edit-seed", options.edit_seed, from_runs or "it chooses from runs, and only artefacts are given"),
    ):
        if given is not None and meant is not True:
            raise UsageError(f"{name}: {meant}; leave it out")
    return Resolved(
        how=how,
        density=(DENSITY if options.density is None else options.density) if drops else None,
        rank=options.rank,
        seed=(options.seed or 0) if how == "dare" else None,
        league=(options.league or LEAGUE) if from_runs else None,
    )
