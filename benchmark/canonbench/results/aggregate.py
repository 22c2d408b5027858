"""Compute every number of a fixed checkpoint's row from its per-example values.

`aggregate` is the one function that does so, and validation runs it too. The file also holds what edit runs share with
it: the base's loss on general text, its noise floor, and the loss ratios of the edited models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.aggregate_tasks import Scored, TaskSpec, average_of, score_task
from canonbench.results.examples import Block, Blocks, is_base, read_blocks
from canonbench.results.row_results import Average, General, TaskResult
from canonbench.scoring import Interval, Protocol, general_loss, loss_ratio, membership, noise_floor, ratio, straddles

if TYPE_CHECKING:
    import pyarrow


class GeneralText(NamedTuple):
    """The general text that the chunks come from, as the row names it."""

    name: str
    data_hash: str


class BaseLoss(NamedTuple):
    """The unedited model's loss on general text."""

    loss: float
    """Nats per token."""
    noise_floor: float


class Ratios(NamedTuple):
    """The loss ratio of each repetition, their mean, and its 95 % interval over chunks."""

    each: tuple[float, ...]
    mean: float
    ci: Interval | None
    """None with only one chunk, or if no chunk's loss changed: the ratio is then 1 on any text."""

    def straddles(self, epsilon: float) -> bool | None:
        """Whether the interval contains the limit of league ε; None without an interval."""
        return None if self.ci is None else straddles(self.ci, epsilon)

    def straddled(self, leagues: Mapping[str, float]) -> tuple[str, ...] | None:
        """The leagues (label to ε) whose limit is inside the interval; None without an interval."""
        return None if self.ci is None else tuple(label for label in leagues if straddles(self.ci, leagues[label]))


def base_loss(block: Block) -> BaseLoss:
    """Compute the base's general loss and its noise floor, the latter from the chunks that were scored twice.

    Raises:
        CanonbenchError: no chunk was scored twice, or there is no base.
    """
    twice = ~np.isnan(block.base_again)
    if block.base is None or not twice.any():
        raise CanonbenchError("general text: the base was not scored twice, so membership cannot be told from noise")
    once, again = (general_loss(nll[twice], block.n_tokens[twice]) for nll in (block.base, block.base_again))
    return BaseLoss(general_loss(block.base, block.n_tokens), noise_floor(once, again))


def loss_ratios(blocks: Sequence[Block], base: float) -> Ratios:
    """Compute the loss ratios of one block per repetition; all share a base whose loss is ``base`` nats per token.

    The interval is for Σ (mean over repetitions of the edited NLL) / Σ base NLL. All repetitions share the
    denominator, so this quotient is the mean of their ratios.
    """
    assert blocks[0].base is not None
    each = tuple(loss_ratio(base, general_loss(block.edited, block.n_tokens)) for block in blocks)
    means = np.mean([block.edited for block in blocks], axis=0)
    estimate = None if is_base(blocks) else ratio(blocks[0].base, means)
    return Ratios(each, fmean(each), None if estimate is None else estimate.interval)


class Aggregates(NamedTuple):
    """The computed parts of a fixed checkpoint's row."""

    tasks: dict[str, TaskResult]
    average: Average
    general: General | None


def aggregate(
    examples: Mapping[str, Any] | pyarrow.Table,
    *,
    tasks: Mapping[str, TaskSpec],
    protocol: Protocol,
    general: GeneralText | None,
) -> Aggregates:
    """Compute a row's tasks, average and general loss (docs/reference/protocol.md#2-tasks, #3-hard-negatives,
    #4-leagues, #6-rows). Pure; same input, same numbers.

    Args:
        examples: columns as in ``examples.COLUMNS``, rows in any order; the base's columns are null without a base.
        tasks: every task, in the order of the row.
        protocol: leagues and threshold overrides.
        general: the general text; None if none was scored.

    Raises:
        UsageError: no task is given, or a loss is unknown.
        CanonbenchError: the examples are incomplete or inconsistent, or hold a value that is not finite.
    """
    if not tasks:
        raise UsageError("no task to aggregate")
    blocks = read_blocks(examples, {name: spec.loss for name, spec in tasks.items()})
    if (general is not None) != (("", "general") in blocks):
        raise CanonbenchError("examples: general text was scored but not named, or named but not scored")
    scored = {name: _task(name, spec, blocks, protocol) for name, spec in tasks.items()}
    return Aggregates(
        {name: each.result for name, each in scored.items()},
        average_of(scored),
        None if general is None else _general(general, blocks["", "general"], protocol),
    )


def _task(name: str, spec: TaskSpec, blocks: Blocks, protocol: Protocol) -> Scored:
    block, hard = blocks.get((name, "evaluation")), blocks.get((name, "hard_negatives"))
    if block is None:
        raise CanonbenchError(f"examples: no evaluation rows of task {name!r}")
    return score_task(name, spec, [block], [] if hard is None else [hard], protocol)


def _general(text: GeneralText, block: Block, protocol: Protocol) -> General:
    return General(
        name=text.name,
        data_hash=text.data_hash,
        n_chunks=block.edited.size,
        n_tokens=int(block.n_tokens.sum()),
        edited=general_loss(block.edited, block.n_tokens),
        **_comparison(block, protocol),
    )


def _comparison(block: Block, protocol: Protocol) -> dict[str, Any]:
    """The fields of General that need a base; all null without one."""
    if block.base is None:
        nothing = dict.fromkeys(("base", "ratio", "ratio_ci", "straddles", "noise_floor"))
        return {**nothing, "leagues": dict.fromkeys(protocol.leagues)}
    base, floor = base_loss(block)
    ratios = loss_ratios([block], base)
    return {
        "base": base,
        "ratio": ratios.mean,
        "ratio_ci": ratios.ci,
        "straddles": ratios.straddled(protocol.leagues),
        "noise_floor": floor,
        "leagues": {label: membership(ratios.mean, epsilon, floor) for label, epsilon in protocol.leagues.items()},
    }
