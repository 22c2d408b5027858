"""Compute every number of an edit run's row from per-example values.

Each league's numbers are those of the candidates chosen for it, as means over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.results.aggregate import BaseLoss, GeneralText, base_loss, loss_ratios
from canonbench.results.aggregate_tasks import Scored, TaskSpec, average_of, score_task
from canonbench.results.examples import Block, EditBlocks, Taken, read_edit_blocks, taken_blocks
from canonbench.results.row_results import General, League, LeagueTask, Seed
from canonbench.scoring import Membership, Protocol, membership, success_rate

if TYPE_CHECKING:
    import pyarrow


class EditAggregates(NamedTuple):
    """The computed parts of an edit run's row."""

    general: General
    leagues: dict[str, League]


def aggregate_edits(
    examples: Mapping[str, Any] | pyarrow.Table,
    *,
    tasks: Mapping[str, TaskSpec],
    protocol: Protocol,
    general: GeneralText,
    choices: Mapping[str, Mapping[str, Taken]],
    reported: Mapping[str, Mapping[str, int]],
) -> EditAggregates:
    """Compute an edit run's leagues and general loss (docs/reference/protocol.md#5-selection, #6-rows). Pure; same
    input, same numbers.

    A league's numbers do not depend on which other leagues are computed.

    Args:
        examples: columns as in ``examples.EDIT_COLUMNS``, rows in any order. Each task has evaluation rows, hard
            negatives and general chunks for the unedited model and for every candidate taken. The unedited model has
            seed 0 and candidate 0, its edited scores equal the base's, and its general chunks hold the base's second
            measurement. Other candidates are checked but not used.
        tasks: every task, in the order of the row.
        protocol: leagues and threshold overrides; the row has those of its leagues that are in ``choices``.
        choices: by league and task, the candidate taken for each seed; 0 if no candidate was in the league.
        reported: by league and task, the candidate chosen on val; 0 if no candidate was in the league.

    Raises:
        UsageError: no task or no league is given, or a league or loss is unknown.
        CanonbenchError: the examples or choices are incomplete or inconsistent, or a value is not finite.
    """
    if not tasks or not choices:
        raise UsageError("no task to aggregate" if not tasks else "no league to aggregate")
    for label in choices:
        if label not in protocol.leagues:
            raise unknown_name("league", label, protocol.leagues, where=f"of protocol {protocol.name}")
        _require_choices(label, tasks, choices[label], reported.get(label, {}))
    blocks = read_edit_blocks(examples, {name: spec.loss for name, spec in tasks.items()})
    run = _EditRun(blocks, tasks, protocol, _base(blocks, tasks))
    return EditAggregates(
        run.general(general),
        {label: run.league(label, choices[label], reported[label]) for label in protocol.leagues if label in choices},
    )


def _require_choices(
    label: str, tasks: Mapping[str, TaskSpec], taken: Mapping[str, Taken], reported: Mapping[str, int]
) -> None:
    for name in tasks:
        if not taken.get(name) or name not in reported:
            raise CanonbenchError(f"league {label}: no choice for task {name!r}")


def _base(blocks: EditBlocks, tasks: Mapping[str, TaskSpec]) -> BaseLoss:
    """The base's general loss; CanonbenchError unless each task's unedited rows are the base's on the same text."""
    chunks = {name: _unedited(blocks, name, "general") for name in tasks}
    for name in tasks:
        for part in ("evaluation", "hard_negatives", "general"):
            unedited = blocks.get((name, part, 0, 0))
            if unedited is not None and not np.array_equal(unedited.edited, _base_of(unedited)):
                raise CanonbenchError(f"examples: the unedited model's {name} {part} rows differ from the base's")
    first, *others = chunks
    found = base_loss(chunks[first])
    for name in others:
        if not _same_base(chunks[name], chunks[first]) or base_loss(chunks[name]) != found:
            raise CanonbenchError(f"examples: the base's general text differs between tasks {first!r} and {name!r}")
    return found


@dataclass(frozen=True)
class _EditRun:
    """The inputs that all leagues of a row share."""

    blocks: EditBlocks
    tasks: Mapping[str, TaskSpec]
    protocol: Protocol
    base: BaseLoss

    def general(self, text: GeneralText) -> General:
        """The base's general loss, for the row; the candidates' ratios are in the leagues."""
        chunks = self.blocks[next(iter(self.tasks)), "general", 0, 0]
        return General(
            name=text.name,
            data_hash=text.data_hash,
            n_chunks=chunks.edited.size,
            n_tokens=int(chunks.n_tokens.sum()),
            base=self.base.loss,
            edited=None,
            ratio=None,
            ratio_ci=None,
            straddles=None,
            noise_floor=self.base.noise_floor,
            leagues=dict.fromkeys(self.protocol.leagues),
        )

    def league(self, label: str, taken: Mapping[str, Taken], reported: Mapping[str, int]) -> League:
        scored = {name: self.scored(name, taken[name]) for name in self.tasks}
        tasks = {name: self.task(label, name, scored[name], taken[name], reported[name]) for name in self.tasks}
        return League(tasks=tasks, average=average_of(scored))

    def scored(self, name: str, taken: Taken) -> Scored:
        evaluation = self.repetitions(name, "evaluation", taken)
        hard = self.repetitions(name, "hard_negatives", taken) if (name, "hard_negatives", 0, 0) in self.blocks else []
        return score_task(name, self.tasks[name], evaluation, hard, self.protocol)

    def task(self, label: str, name: str, scored: Scored, taken: Taken, reported: int) -> LeagueTask:
        ratios = loss_ratios(self.repetitions(name, "general", taken), self.base.loss)
        evaluation = self.repetitions(name, "evaluation", taken)
        success = [success_rate(block.edited, scored.result.threshold) for block in evaluation]
        seeds = [
            Seed(
                seed=seed,
                candidate=candidate or None,
                success=rate,
                ratio=ratio,
                membership=self.membership(label, ratio, edited=bool(candidate)),
            )
            for (seed, candidate), rate, ratio in zip(sorted(taken.items()), success, ratios.each, strict=True)
        ]
        return LeagueTask(
            **dict(scored.result),
            standard_error=stdev(success) / math.sqrt(len(success)) if len(success) > 1 else None,
            ratio=ratios.mean,
            ratio_ci=ratios.ci,
            straddles=ratios.straddles(self.protocol.leagues[label]),
            membership=self.membership(label, ratios.mean, edited=any(taken.values())),
            candidate=reported or None,
            seeds=tuple(seeds),
        )

    def membership(self, label: str, ratio: float, *, edited: bool) -> Membership:
        """Whether a ratio is in the league; the unedited model's is 1 by definition, so it is never uncertain."""
        return membership(ratio, self.protocol.leagues[label], self.base.noise_floor if edited else 0.0)

    def repetitions(self, name: str, part: str, taken: Taken) -> list[Block]:
        """The blocks of the candidates taken, by seed; all have the same rows and the same base."""
        found = taken_blocks(self.blocks, name, part, taken)
        unedited = _unedited(self.blocks, name, part)
        for (seed, candidate), block in zip(sorted(taken.items()), found, strict=True):
            if not _same_base(block, unedited):
                what = f"{name} {part}, seed {seed}, candidate {candidate}"
                raise CanonbenchError(f"examples: the base's side of {what} differs from that of the unedited model")
        return found


def _unedited(blocks: EditBlocks, name: str, part: str) -> Block:
    return taken_blocks(blocks, name, part, {0: 0})[0]


def _same_base(one: Block, other: Block) -> bool:
    """Whether two blocks have the same rows and the same base scores."""
    return (
        one.clusters == other.clusters
        and np.array_equal(one.index, other.index)
        and np.array_equal(one.clean, other.clean)
        and np.array_equal(one.n_tokens, other.n_tokens)
        and np.array_equal(_base_of(one), _base_of(other))
    )


def _base_of(block: Block) -> NDArray[np.float64]:
    assert block.base is not None, "read_edit_blocks refuses rows without a base"
    return block.base
