"""Every number of a row, from per-example values, by one function; validation of a submission runs the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from canonbench.errors import CanonbenchError, UsageError
from canonbench.leaderboard.aggregate_examples import Block, Blocks, read_blocks
from canonbench.leaderboard.row_results import (
    Average,
    Change,
    ChangeWithInterval,
    Clean,
    General,
    HardNegatives,
    TaskResult,
    is_complete,
)
from canonbench.scoring import (
    Protocol,
    difference_units,
    draw,
    general_loss,
    loss_ratio,
    mean_draw,
    mean_loss,
    membership,
    noise_floor,
    percentile_interval,
    ratio_units,
    stream,
    success_rate,
    successes,
)

if TYPE_CHECKING:
    import pyarrow

Draws = NDArray[np.float64] | None


class TaskSpec(NamedTuple):
    """How a task is scored: its loss by name, and its own δ in nats (a protocol may override it)."""

    loss: str
    threshold: float


class GeneralText(NamedTuple):
    """Which general text the chunks are, for the row."""

    name: str
    data_hash: str


class Aggregates(NamedTuple):
    """The computed parts of a row."""

    tasks: dict[str, TaskResult]
    average: Average
    general: General | None


def aggregate(
    examples: Mapping[str, Any] | pyarrow.Table,
    *,
    tasks: Mapping[str, TaskSpec],
    protocol: Protocol,
    general: GeneralText | None,
    seed: int,
) -> Aggregates:
    """Compute a row's tasks, average and general loss (PROTOCOL sections 2-4 and 6). Pure; same input, same numbers.

    Args:
        examples: columns as in ``aggregate_examples.COLUMNS``, rows in any order; without a base its columns are null.
        tasks: every task, in the order of the row.
        protocol: leagues, threshold overrides and resamples.
        general: None if no general text was scored.
        seed: of the bootstrap; each task draws from a stream of its own.

    Raises:
        UsageError: no task, an unknown loss, or a negative seed.
        CanonbenchError: the examples lack something, contradict themselves, or hold a value that is not finite.
    """
    if not tasks:
        raise UsageError("no task to aggregate")
    blocks = read_blocks(examples, {name: spec.loss for name, spec in tasks.items()})
    if (general is not None) != (("", "general") in blocks):
        raise CanonbenchError("examples: general text was scored but not named, or named but not scored")
    scored = {name: _task(name, spec, blocks, protocol, seed) for name, spec in tasks.items()}
    return Aggregates(
        {name: each.result for name, each in scored.items()},
        _average(scored),
        None if general is None else _general(general, blocks["", "general"], protocol, seed),
    )


class _Pair(NamedTuple):
    """A number before and after the edit, not yet rounded, and the bootstrap's draws of the difference."""

    base: float | None
    edited: float
    draws: Draws = None

    def change(self) -> dict[str, Any]:
        delta = None if self.base is None else self.edited - self.base
        return {"base": self.base, "edited": self.edited, "delta": delta}

    def change_with_interval(self) -> dict[str, Any]:
        return {**self.change(), "ci": percentile_interval(self.draws)}


class _Scored(NamedTuple):
    """A task's result, and the unrounded numbers that the average is taken of."""

    result: TaskResult
    success: _Pair
    clean: _Pair | None
    hard_negatives: _Pair | None


def _task(name: str, spec: TaskSpec, blocks: Blocks, protocol: Protocol, seed: int) -> _Scored:
    block, hard = blocks.get((name, "evaluation")), blocks.get((name, "hard_negatives"))
    if block is None:
        raise CanonbenchError(f"examples: no evaluation rows of task {name!r}")
    threshold = protocol.threshold(name, spec.threshold)
    success, clean = _success(block, threshold, protocol, seed), _clean(block, threshold)
    over = None if hard is None else _hard_negatives(hard, protocol, seed)
    counts: dict[str, Any] = {} if hard is None else {"n": hard.edited.size, "n_subjects": hard.n_clusters}
    result = TaskResult(
        loss=spec.loss,
        threshold=threshold,
        n=block.edited.size,
        n_subjects=block.n_clusters,
        success=ChangeWithInterval(**success.change_with_interval()),
        clean=None if clean is None else Clean(**clean.change(), n=int(block.clean.sum())),
        hard_negatives=None if over is None else HardNegatives(**over.change_with_interval(), **counts),
    )
    return _Scored(result, success, clean, over)


def _success(block: Block, threshold: float, protocol: Protocol, seed: int) -> _Pair:
    edited = success_rate(block.edited, threshold)
    if block.base is None:
        return _Pair(None, edited)
    before, after = (100.0 * successes(losses, threshold) for losses in (block.base, block.edited))
    return _Pair(success_rate(block.base, threshold), edited, _draws(block, before, after, protocol, seed))


def _clean(block: Block, threshold: float) -> _Pair | None:
    if not block.clean.any():
        return None
    base = None if block.base is None else success_rate(block.base[block.clean], threshold)
    return _Pair(base, success_rate(block.edited[block.clean], threshold))


def _hard_negatives(block: Block, protocol: Protocol, seed: int) -> _Pair:
    if block.base is None:
        return _Pair(None, mean_loss(block.edited))
    draws = _draws(block, block.base, block.edited, protocol, seed)
    return _Pair(mean_loss(block.base), mean_loss(block.edited), draws)


def _draws(block: Block, before: ArrayLike, after: ArrayLike, protocol: Protocol, seed: int) -> Draws:
    units = difference_units(before, after, block.clusters)
    return draw(units, resamples=protocol.bootstrap_resamples, generator=stream(seed, block.what))


def _average(scored: Mapping[str, _Scored]) -> Average:
    clean = _mean([each.clean for each in scored.values()])
    over = _mean([each.hard_negatives for each in scored.values()])
    return Average(
        tasks=tuple(scored),
        n_tasks=len(scored),
        complete=is_complete(tuple(scored)),
        success=ChangeWithInterval(**_mean_of([each.success for each in scored.values()]).change_with_interval()),
        clean=None if clean is None else Change(**clean.change()),
        hard_negatives=None if over is None else ChangeWithInterval(**over.change_with_interval()),
    )


def _mean(pairs: Sequence[_Pair | None]) -> _Pair | None:
    """The mean, or None if a task has no such number: a mean over fewer tasks would look like one over all."""
    known = [pair for pair in pairs if pair is not None]
    return _mean_of(known) if len(known) == len(pairs) else None


def _mean_of(pairs: Sequence[_Pair]) -> _Pair:
    bases = [pair.base for pair in pairs if pair.base is not None]
    draws = mean_draw([pair.draws for pair in pairs])
    return _Pair(fmean(bases) if bases else None, fmean(pair.edited for pair in pairs), draws)


def _general(text: GeneralText, block: Block, protocol: Protocol, seed: int) -> General:
    edited = general_loss(block.edited, block.n_tokens)
    return General(
        name=text.name,
        data_hash=text.data_hash,
        n_chunks=block.edited.size,
        n_tokens=int(block.n_tokens.sum()),
        edited=edited,
        **_comparison(block, edited, protocol, seed),
    )


def _comparison(block: Block, edited: float, protocol: Protocol, seed: int) -> dict[str, Any]:
    """The fields of General that need a base, all null without one."""
    if block.base is None:
        nothing = dict.fromkeys(("base", "ratio", "ratio_ci", "noise_floor"))
        return {**nothing, "leagues": dict.fromkeys(protocol.leagues)}
    base = general_loss(block.base, block.n_tokens)
    ratio, floor = loss_ratio(base, edited), _noise_floor(block, block.base)
    units = ratio_units(block.base, block.edited)
    draws = draw(units, resamples=protocol.bootstrap_resamples, generator=stream(seed, block.what))
    return {
        "base": base,
        "ratio": ratio,
        "ratio_ci": percentile_interval(draws),
        "noise_floor": floor,
        "leagues": {label: membership(ratio, epsilon, floor) for label, epsilon in protocol.leagues.items()},
    }


def _noise_floor(block: Block, base: NDArray[np.float64]) -> float:
    """From the chunks that the base was scored on twice."""
    twice = ~np.isnan(block.base_again)
    if not twice.any():
        raise CanonbenchError("general text: the base was not scored twice, so membership cannot be told from noise")
    once, again = (general_loss(nll[twice], block.n_tokens[twice]) for nll in (base, block.base_again))
    return noise_floor(once, again)
