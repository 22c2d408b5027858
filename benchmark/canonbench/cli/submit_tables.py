"""Print the result of ``canonbench submit``: files written, what is left to do, and the text of a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from canonbench.results import Average, Row
from canonbench.submissions import Submitted


def draw_submitted(done: Submitted, runs: Sequence[Path], options: Mapping[str, object]) -> str:
    """Format files, what is left, how to undo it, and the pull request; ``options`` are those that undoing needs."""
    todo = [each for each in done.findings if each.level == "todo"]
    lines = [f"wrote {place}" for place in done.written] + [f"deleted {place}" for place in done.deleted]
    lines += [f"note: {each}" for each in done.findings if each.level == "note"]
    if todo:
        lines += ["", "still to be written by you:", *(f"  {each}" for each in todo)]
    given = [text for name, value in options.items() if value is not None for text in (_flag(name), str(value))]
    undo = shlex.join(["canonbench", "submit", *map(str, runs), "--name", done.name, *given, "--undo"])
    lines += ["", f"then check it: canonbench validate submissions/{done.name}", f"to undo it:    {undo}"]
    return "\n".join([*lines, "", "--- pull request " + "-" * 43, *_pull_request(done), "-" * 60]) + "\n"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def draw_withdrawn(done: Submitted) -> str:
    """Format what was removed, and what stays."""
    lines = [f"deleted {place}" for place in done.deleted] + [f"wrote {place}" for place in done.written]
    lines += [f"kept {place}: written by somebody" for place in done.kept]
    return "\n".join(lines) + "\n"


def _pull_request(done: Submitted) -> Iterator[str]:
    row = done.row
    yield f"Submission: {done.name} on {(row.base or row.model).name} ({row.suite.name}, {row.split})"
    yield ""
    yield f"Row {row.row_id} in `leaderboard/rows/{done.name}.jsonl`; `submissions/{done.name}` describes the method."
    yield f"Suite {row.suite.name} {row.suite.version}, {row.split} split; protocol {row.protocol}; {row.dtype}."
    yield ""
    yield "| league | success, base | edited | Δ | 95 % | hard negatives Δ |"
    yield "|---|---|---|---|---|---|"
    for label, average in _averages(row):
        change, hard = average.success, average.hard_negatives
        ci = "" if change.ci is None else f"{change.ci[0]:+.2f} to {change.ci[1]:+.2f}"
        worse = "" if hard is None else _signed(hard.delta, 4)
        base = "" if change.base is None else f"{change.base:.2f}"
        yield f"| {label} | {base} | {change.edited:.2f} | {_signed(change.delta, 2)} | {ci} | {worse} |"
    yield ""
    yield f"- [ ] `canonbench validate submissions/{done.name}` says: valid"
    yield "- [ ] The hyperparameters were chosen without looking at the test split."
    yield "- [ ] The code may be published under the licence of this repository."


def _averages(row: Row) -> Iterator[tuple[str, Average]]:
    if row.average is not None:
        yield "one checkpoint", row.average
    for label, league in (row.leagues or {}).items():
        yield label, league.average


def _signed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:+.{digits}f}"
