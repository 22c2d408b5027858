"""Every number of a fixed checkpoint's row, from per-example values, by one function; validation runs the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from canonbench.errors import CanonbenchError, UsageError
from canonbench.leaderboard.aggregate_examples import Block, Blocks, read_blocks
from canonbench.leaderboard.aggregate_general import GeneralText, base_loss, loss_ratios
from canonbench.leaderboard.aggregate_tasks import Scored, TaskSpec, average_of, score_task
from canonbench.leaderboard.row_results import Average, General, TaskResult
from canonbench.scoring import Protocol, general_loss, membership

if TYPE_CHECKING:
    import pyarrow


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
) -> Aggregates:
    """Compute a row's tasks, average and general loss (docs/reference/protocol.md#2-tasks, #3-hard-negatives,
    #4-leagues, #6-rows). Pure; same input, same numbers.

    Args:
        examples: columns as in ``aggregate_examples.COLUMNS``, rows in any order; without a base its columns are null.
        tasks: every task, in the order of the row.
        protocol: leagues and threshold overrides.
        general: None if no general text was scored.

    Raises:
        UsageError: no task, or an unknown loss.
        CanonbenchError: the examples lack something, contradict themselves, or hold a value that is not finite.
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
    """The fields of General that need a base, all null without one."""
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
