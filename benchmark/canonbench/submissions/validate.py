"""Validate the board: every row, every submission, and their consistency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from canonbench.errors import UsageError
from canonbench.results import (
    BoardFinding,
    Checkout,
    Findings,
    PlacedRow,
    Row,
    Submission,
    find_checkout,
    read_rows_file,
)
from canonbench.submissions.check_folder import EXAMPLES, check_code, check_folder, private_things
from canonbench.submissions.checks import check_row, results_of, settings_of
from canonbench.submissions.examine_code import Examined

SAME_BASE = 0.5
"""Tolerance in points between two measurements of one base on one task, on other devices or versions."""


def validate(path: str | Path | None = None, *, fetch: bool = False) -> list[BoardFinding]:
    """Find all problems of a board, or of one submission and its rows.

    This imports submitted code, in separate processes.

    Args:
        path: a checkout, or a folder under its ``submissions``; None for the checkout of the working folder.
        fetch: also fetch and check examples that are on the hub.

    Raises:
        UsageError: the path is neither.
    """
    checkout, only = _what(path)
    return check_board(checkout, only, fetch=fetch)


def check_board(checkout: Checkout, only: str | None = None, *, fetch: bool = False) -> list[BoardFinding]:
    """See ``validate``; ``only`` names one submission."""
    findings = Findings(checkout.root)
    placed = _rows(checkout, only, findings)
    submissions: dict[str, Submission | None] = {}
    codes: dict[str, Examined] = {}
    for name in checkout.names():
        if only in (None, name):
            folder, place = checkout.submissions / name, f"submissions/{name}"
            submissions[name] = described = check_folder(folder, place, findings)
            if described is not None:
                asked = [
                    settings for each in placed if each.row.submission == name for settings in settings_of(each.row)
                ]
                if examined := check_code(folder, place, described, asked, findings):
                    codes[name] = examined
            _check_unused(folder, place, placed, findings)
    for each in placed:
        check_row(each, checkout, submissions, codes, findings, fetch=fetch)
    _check_together(placed, findings)
    return findings.found


def claim(row: Row) -> tuple[object, ...]:
    """What a submission may have only one valid row for: a base in a comparable group and track."""
    return row.submission, row.comparable_group, row.track, row.fingerprints.base, row.fingerprints.model


def _what(path: str | Path | None) -> tuple[Checkout, str | None]:
    """Return the checkout, and the name of the submission if ``path`` is one."""
    if path is None:
        return find_checkout(), None
    given = Path(path)
    if not given.is_dir():
        raise UsageError(f"{given}: no such folder; give a checkout or a folder under its submissions")
    checkout = find_checkout(given)
    within = given.resolve().relative_to(checkout.root.resolve()).parts
    if not within:
        return checkout, None
    if len(within) == 2 and within[0] == checkout.submissions.name:
        return checkout, within[1]
    raise UsageError(f"{given} is neither a checkout nor a folder under its submissions")


def _rows(checkout: Checkout, only: str | None, findings: Findings) -> list[PlacedRow]:
    """Read all rows that can be read; for one submission, those that name it and those in its file."""
    placed: list[PlacedRow] = []
    for path in sorted(checkout.rows.glob("*.jsonl")):
        place = checkout.place(path)
        with findings.at(place):
            placed += read_rows_file(path)
        if only is None or path == checkout.rows_file(only):
            with findings.at(place):
                for line, what in private_things(path):
                    findings.error(f"{place}:{line}", what)
    if only is not None:
        own = checkout.rows_file(only).name
        return [each for each in placed if each.row.submission == only or each.place.partition(":")[0] == own]
    return placed


def _check_unused(folder: Path, place: str, placed: Iterable[PlacedRow], findings: Findings) -> None:
    named = {each.row.examples.file for each in placed if each.row.examples is not None}
    for path in sorted(folder.glob(EXAMPLES)):
        if f"{place}/{path.name}" not in named:
            findings.error(f"{place}/{path.name}", "no row names it; delete it")


def _check_together(placed: Sequence[PlacedRow], findings: Findings) -> None:
    """Check for duplicate rows, rows with the same claim, and bases with different scores."""
    standing: dict[object, str] = {}
    lines: dict[str, str] = {}
    bases: dict[object, list[PlacedRow]] = defaultdict(list)
    for each in placed:
        row, place = each.row, f"leaderboard/rows/{each.place}"
        if row.row_id in lines:
            findings.error(place, f"the same row as {lines[row.row_id]}")
            continue
        lines[row.row_id] = each.place
        if row.state == "reported" or any(flag.name == "superseded" for flag in row.flags):
            continue
        if (key := claim(row)) in standing:
            findings.error(
                place,
                f"submission {row.submission!r} has a row on {row.model.name!r} here already, {standing[key]}; "
                "flag one of them superseded",
            )
        standing[key] = each.place
        bases[row.fingerprints.base, row.comparable_group].append(each)
    for same in bases.values():
        _check_bases(same, findings)


def _check_bases(same: Sequence[PlacedRow], findings: Findings) -> None:
    """Check that rows of one group on one base agree on the base's scores."""
    first, *others = same
    before = results_of(first.row)
    for each in others:
        for name, result in results_of(each.row).items():
            one = before[name].success.base if name in before else None
            other = result.success.base
            if one is not None and other is not None and abs(one - other) > SAME_BASE:
                findings.error(
                    f"leaderboard/rows/{each.place}",
                    f"{name}: the base succeeds on {other:.2f} %, the same base on {one:.2f} % in {first.place}",
                )
