"""Whether per-example values could be what a row says they are: probabilities, and the rows of its suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from canonbench.errors import CanonbenchError
from canonbench.leaderboard.aggregate_examples import Block, read_blocks, read_edit_blocks
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import TaskResult
from canonbench.runs.questions import Question, question
from canonbench.scoring.protocol import Protocol, protocol
from canonbench.suite import Suite
from canonbench.suite.load import NAMES
from canonbench.suite.published_counts import published_counts

if TYPE_CHECKING:
    import pyarrow

ABOVE_ONE = 1e-4
"""Nats by which a log-probability may exceed 0: logits − logsumexp is rounded at every token."""


def results_of(row: Row) -> dict[str, TaskResult]:
    """The row's tasks; of an edit run those of one league, for loss, threshold and counts are the same in all."""
    return dict(row.tasks or next(iter((row.leagues or {}).values())).tasks)


def implausible(row: Row, examples: pyarrow.Table, suite: Suite | None) -> Iterator[str]:
    """What cannot be, in one line each.

    Args:
        row: of a standard protocol.
        examples: those of the row.
        suite: the data that the row names; None if it is not at hand, then only the values themselves are looked at.

    Raises:
        CanonbenchError: the examples are damaged.
    """
    yield from _above_one(examples)
    losses = {name: result.loss for name, result in results_of(row).items()}
    blocks: dict[tuple[str, str], Block] = {}
    if row.leagues is None:
        blocks |= read_blocks(examples, losses)
    else:
        # That every candidate was asked the same as the unedited model, the aggregates have checked.
        edited = read_edit_blocks(examples, losses)
        blocks |= {key[:2]: block for key, block in edited.items() if key[2:] == (0, 0)}
    rules = protocol(row.protocol)
    for (task, part), block in blocks.items():
        what = f"{task} {part}".strip()
        if not np.array_equal(block.index, np.arange(block.index.size)):
            yield f"{what}: its rows are not 0 to {block.index.size - 1}"
        elif (block.n_tokens < 1).any():
            yield f"{what}: row {int(np.argmax(block.n_tokens < 1))} has no scored token"
        elif suite is not None:
            yield from _unlike_suite(row, suite, rules, task, part, block)
        elif (n := _published_rows(row, rules, task, part)) not in (None, block.index.size):
            yield f"{what}: {block.index.size} rows, suite {row.suite.name!r} has {n}"


def _published_rows(row: Row, rules: Protocol, task: str, part: str) -> int | None:
    """How many rows the published suite has there, by its manifest; None of another suite or version."""
    counts = published_counts()
    if (row.suite.name, row.suite.version) != ("published", counts.version) or row.limit is not None:
        return None
    is_vals = part == "hard_negatives" and rules.hard_negatives == "val"
    return counts.rows.get((task, "val" if is_vals else row.split, part))


def suite_of(row: Row) -> tuple[Suite | None, str | None]:
    """The suite that the row names, if it is at hand; else why not.

    Raises:
        CanonbenchError: it is at hand, and its data are not those that the row names.
    """
    name = row.suite.name
    if name not in NAMES:
        return None, f"suite {name!r} is not one of {', '.join(NAMES)}, so its rows were not compared with it"
    try:
        suite = Suite.load(name)
    except CanonbenchError:
        return None, f"suite {name!r} is not at hand, so its rows were not compared with it"
    if (suite.spec.version, suite.data_hash(row.split)) != (row.suite.version, row.suite.data_hash):
        raise CanonbenchError(f"scored on other data than suite {name!r}, version {suite.spec.version}")
    return suite, None


def _above_one(examples: pyarrow.Table) -> Iterator[str]:
    for name in examples.column_names:
        if "_log_p_" not in name:
            continue
        values = examples.column(name).to_numpy()
        high = np.flatnonzero(values > ABOVE_ONE)
        if high.size:
            task, part, index = (examples.column(key)[int(high[0])].as_py() for key in ("task", "part", "index"))
            what = f"{task} {part} row {index}".strip()
            yield f"{what}: {name} is {values[high[0]]:.6g}, a probability above 1 ({high.size} such values)"


def _unlike_suite(row: Row, suite: Suite, rules: Protocol, task: str, part: str, block: Block) -> Iterator[str]:
    if part == "general":
        yield from _unlike_general(row, suite, rules, task, block)
        return
    asked = question(suite, task, row.split, rules, row.limit)
    if part == "evaluation":
        yield from _unlike_task(row, asked, task)
    table = getattr(asked, part)
    subjects = [subject or f"row {index}" for index, subject in enumerate(table["subject"])]
    if len(subjects) != block.index.size:
        yield f"{task} {part}: {block.index.size} rows, suite {suite.name!r} has {len(subjects)}"
    elif subjects != block.clusters:
        pairs = enumerate(zip(block.clusters, subjects, strict=True))
        index, (here, there) = next(each for each in pairs if len(set(each[1])) > 1)
        yield f"{task} {part}: row {index} is about {here!r}, in suite {suite.name!r} about {there!r}"
    elif part == "evaluation" and list(table["clean"]) != block.clean.tolist():
        yield f"{task} {part}: other rows are marked clean than in suite {suite.name!r}"


def _unlike_task(row: Row, asked: Question, task: str) -> Iterator[str]:
    result = results_of(row)[task]
    if (result.loss, result.threshold) != (asked.task.loss, asked.task.threshold):
        yield f"{task}: scored by another loss or threshold than the suite's"


def _unlike_general(row: Row, suite: Suite, rules: Protocol, task: str, block: Block) -> Iterator[str]:
    assert row.general is not None, "read_blocks found general text, and the aggregates require its name"
    try:
        text = suite.general(row.general.name)
    except CanonbenchError:
        return  # the large general texts need not be at hand
    assert text is not None, "asked for by name"
    part = "all" if rules.general == "all" else row.split
    if text.data_hash(part) != row.general.data_hash:
        yield f"general text {text.name!r}: other text than that of suite {suite.name!r}"
    elif (n := min(len(text.texts(part)), row.limit or block.index.size)) != block.index.size:
        yield f"{task} general: {block.index.size} chunks, suite {suite.name!r} has {n}".strip()
