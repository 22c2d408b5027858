"""Check one row of the board: complete, and its numbers follow from its per-example values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.files import file_hash
from canonbench.leaderboard.compact import read_examples
from canonbench.leaderboard.hyperparameters import for_task
from canonbench.leaderboard.recompute import differences
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.rows import PlacedRow
from canonbench.leaderboard.submission import Submission
from canonbench.runs.board_findings import Findings
from canonbench.runs.check_examples import implausible, results_of, suite_of
from canonbench.runs.checkout import Checkout
from canonbench.runs.examine_code import Examined, as_key
from canonbench.runs.hub_examples import fetch_examples
from canonbench.suite.tasks import TASKS

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
    """Everything about a row that can be told from it, its submission and its examples.

    Args:
        placed: the row, and its file and line.
        checkout: where its examples are.
        submissions: every folder under ``submissions/``; None where its description is unusable.
        codes: what came of importing their methods.
        findings: added to.
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
    """The candidate that a league reports is the only number that its examples do not tell
    (docs/reference/protocol.md#5-selection)."""
    for label, league in (row.leagues or {}).items():
        for name, task in league.tasks.items():
            chosen, first = task.candidate or 0, next(iter(task.seeds or ())).candidate or 0
            if chosen < first or (row.split == "val" and chosen != first):
                yield f"leagues.{label}.tasks.{name}.candidate: {chosen} was chosen, but the first seed took {first}"


def settings_of(row: Row) -> list[dict[str, Any]]:
    """The hyperparameters that an edit run's row has for its tasks; none of any other row."""
    if row.leagues is None:
        return []
    return [dict(for_task(row.hyperparameters or {}, task)) for task in results_of(row)]


def _check_settings(row: Row, submissions: Mapping[str, Submission | None], codes: Mapping[str, Examined]) -> None:
    """The row's hyperparameters are ones that its method takes; CanonbenchError if not."""
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
    """The row's examples in the checkout, whose bytes are those that the row names.

    Raises:
        CanonbenchError: they are missing or of another content, or not in the row's submission.
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
