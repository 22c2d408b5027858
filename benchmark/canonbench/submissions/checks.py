"""Check one row of the board: it is complete, and its numbers follow from its per-example values.

The per-example values must be possible: valid probabilities, for exactly the rows of the suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from canonbench.errors import CanonbenchError
from canonbench.files import file_hash
from canonbench.results import (
    Block,
    Checkout,
    Findings,
    PlacedRow,
    Row,
    Submission,
    TaskResult,
    differences,
    for_task,
    read_blocks,
    read_edit_blocks,
    read_examples,
)
from canonbench.runs import TaskRows, question
from canonbench.scoring import Protocol, protocol
from canonbench.submissions.examine_code import Examined, as_key
from canonbench.submissions.hub_examples import fetch_examples
from canonbench.suite import NAMES, TASKS, Suite, published_counts

if TYPE_CHECKING:
    import pyarrow


ABOVE_ONE = 1e-4
"""Tolerance in nats for log-probabilities above 0, as logits − logsumexp is rounded at every token."""


def results_of(row: Row) -> dict[str, TaskResult]:
    """The row's tasks; for an edit run those of one league, as loss, threshold and counts are the same in all."""
    return dict(row.tasks or next(iter((row.leagues or {}).values())).tasks)


def implausible(row: Row, examples: pyarrow.Table, suite: Suite | None) -> Iterator[str]:
    """List impossible per-example values, one line each.

    Args:
        row: a row of a standard protocol.
        examples: the row's examples.
        suite: the data that the row names; None if not available, in which case only the values are checked.

    Raises:
        CanonbenchError: the examples are damaged.
    """
    yield from _above_one(examples)
    losses = {name: result.loss for name, result in results_of(row).items()}
    blocks: dict[tuple[str, str], Block] = {}
    if row.leagues is None:
        blocks |= read_blocks(examples, losses)
    else:
        # The aggregates have checked that every candidate was scored on the same rows as the unedited model.
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
    """Number of rows in this part of the published suite, by its manifest; None for another suite or version."""
    counts = published_counts()
    if (row.suite.name, row.suite.version) != ("published", counts.version) or row.limit is not None:
        return None
    is_vals = part == "hard_negatives" and rules.hard_negatives == "val"
    return counts.rows.get((task, "val" if is_vals else row.split, part))


def suite_of(row: Row) -> tuple[Suite | None, str | None]:
    """Load the suite that the row names, or return why it is not available.

    Raises:
        CanonbenchError: the suite is available, but its data are not those that the row names.
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


def _unlike_task(row: Row, asked: TaskRows, task: str) -> Iterator[str]:
    result = results_of(row)[task]
    if (result.loss, result.threshold) != (asked.task.loss, asked.task.threshold):
        yield f"{task}: scored by another loss or threshold than the suite's"


def _unlike_general(row: Row, suite: Suite, rules: Protocol, task: str, block: Block) -> Iterator[str]:
    assert row.general is not None, "read_blocks found general text, and the aggregates require its name"
    try:
        text = suite.general(row.general.name)
    except CanonbenchError:
        return  # the large general texts need not be downloaded
    assert text is not None, "asked for by name"
    part = "all" if rules.general == "all" else row.split
    if text.data_hash(part) != row.general.data_hash:
        yield f"general text {text.name!r}: other text than that of suite {suite.name!r}"
    elif (n := min(len(text.texts(part)), row.limit or block.index.size)) != block.index.size:
        yield f"{task} general: {block.index.size} chunks, suite {suite.name!r} has {n}".strip()


HUB = "hf://"


def check_row(
    placed: PlacedRow,
    checkout: Checkout,
    submissions: Mapping[str, Submission | None],
    codes: Mapping[str, Examined],
    findings: Findings,
    *,
    fetch: bool,
) -> None:
    """Check everything that follows from a row, its submission and its examples.

    Args:
        placed: the row, and its file and line.
        checkout: the checkout that holds its examples.
        submissions: every folder under ``submissions/``; None if its description is unusable.
        codes: the outcomes of importing their methods.
        findings: receives the findings.
        fetch: whether to fetch examples that are on the hub.
    """
    row, place = placed.row, f"leaderboard/rows/{placed.place}"
    for message in _own_problems(row, placed.place.partition(":")[0], submissions):
        findings.error(place, message)
    if row.state in ("submitted", "reproduced"):
        with findings.at(place):
            _check_settings(row, submissions, codes)
        _check_examples(row, place, checkout, findings, fetch)


def _own_problems(row: Row, file: str, submissions: Mapping[str, Submission | None]) -> Iterator[str]:
    if row.state == "measured":
        yield "a measured row has no examples here; 'canonbench submit' makes it a submitted one"
    if row.submission is not None and row.submission not in submissions:
        yield f"there is no folder submissions/{row.submission}"
    if row.state in ("submitted", "reproduced"):
        if file != f"{row.submission}.jsonl":
            yield f"rows of submission {row.submission!r} belong in {row.submission}.jsonl"
        if not any(flag.name == "partial" for flag in row.flags):
            yield from _parts_missing(row)
        yield from _impossible_choices(row)


def _parts_missing(row: Row) -> Iterator[str]:
    if row.limit is not None:
        yield f"partial: only the first {row.limit} rows of every file were scored (--limit)"
    if missing := [name for name in TASKS if name not in results_of(row)]:
        yield f"partial: the standard tasks {', '.join(missing)} are missing"
    if row.base is None or row.general is None:
        yield "partial: without a base and general text it is in no league"


def _impossible_choices(row: Row) -> Iterator[str]:
    """Check the candidates that the leagues report, the only numbers that do not follow from the examples
    (docs/reference/protocol.md#5-selection)."""
    for label, league in (row.leagues or {}).items():
        for name, task in league.tasks.items():
            chosen, first = task.candidate or 0, next(iter(task.seeds or ())).candidate or 0
            if chosen < first or (row.split == "val" and chosen != first):
                yield f"leagues.{label}.tasks.{name}.candidate: {chosen} was chosen, but the first seed took {first}"


def settings_of(row: Row) -> list[dict[str, Any]]:
    """The hyperparameters of an edit run's row for its tasks; empty for any other row."""
    if row.leagues is None:
        return []
    return [dict(for_task(row.hyperparameters or {}, task)) for task in results_of(row)]


def _check_settings(row: Row, submissions: Mapping[str, Submission | None], codes: Mapping[str, Examined]) -> None:
    """Check that the method takes the row's hyperparameters; CanonbenchError if not."""
    submission = submissions.get(str(row.submission))
    if row.leagues is None or submission is None:
        return
    if submission.method is None:
        raise CanonbenchError(f"submissions/{row.submission} has no method, so this edit run cannot be repeated")
    examined = codes.get(str(row.submission))
    for settings in settings_of(row):
        if examined is not None and (why := examined.refused.get(as_key(settings))):
            raise CanonbenchError(why)


def _check_examples(row: Row, place: str, checkout: Checkout, findings: Findings, fetch: bool) -> None:
    assert row.examples is not None, "submitted and reproduced rows name their examples"
    is_on_hub = row.examples.file.startswith(HUB)
    if is_on_hub and not fetch:
        findings.note(place, f"its examples are on the hub and were not looked at: {row.examples.file}")
        return
    with findings.at(place):
        path = fetch_examples(row.examples) if is_on_hub else examples_path(row, checkout)
        table = read_examples(path)
        unlike = differences(row, table)
        if unlike:
            more = f" (and {len(unlike) - 1} more)" if len(unlike) > 1 else ""
            findings.error(place, f"{unlike[0]}{more}")
        suite, lack = suite_of(row)
        if lack is not None:
            findings.note(place, lack)
        for message in implausible(row, table, suite):
            findings.error(place, message)


def examples_path(row: Row, checkout: Checkout) -> Path:
    """Return the path of the row's examples in the checkout, after checking their hash.

    Raises:
        CanonbenchError: the file is missing, has another hash, or is not in the row's submission.
    """
    assert row.examples is not None, "submitted and reproduced rows name their examples"
    file, digest = row.examples.file, row.examples.sha256
    expected = f"submissions/{row.submission}/examples-{digest[:12]}.parquet"
    if file != expected:
        raise CanonbenchError(f"examples.file: must be {expected}, not {file}")
    path = checkout.root / file
    if not path.is_file():
        raise CanonbenchError(f"{file} is missing")
    if (found := file_hash(path)) != digest:
        raise CanonbenchError(f"{file} has the SHA-256 {found[:12]}..., the row names {digest[:12]}...")
    return path
