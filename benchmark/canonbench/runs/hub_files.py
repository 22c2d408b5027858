"""What of runs and rows stands in a data-set repository of the hub, under which names, and that it is whole.

    rows/NAME.jsonl       rows of a board
    runs/NAME/row.json    a finished run, with its examples.parquet and what says how it was made

The same checks are made of what goes there and of what comes from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from canonbench.errors import CanonbenchError, UsageError
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.rows import read_rows_file
from canonbench.runs.check_text import private_things
from canonbench.runs.finished import read_finished, sides
from canonbench.runs.folder import RunFolder

EXAMPLES = "examples.parquet"
RUN_FILES = ("run.yaml", "candidates.jsonl", "trajectory.svg", EXAMPLES, "row.json")
"""Of a run folder; its row is the last to be written, so that a row always stands for a whole run."""
NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
PLACE = re.compile(rf"rows/{NAME.pattern}\.jsonl|runs/{NAME.pattern}/(?:{'|'.join(map(re.escape, RUN_FILES))})")
"""What a file of rows or of a run is called in a repository; anything else there is not ours."""
PATTERNS = ["rows/*.jsonl", *(f"runs/*/{name}" for name in RUN_FILES)]
"""The same, as far as a download can be told."""


@dataclass(frozen=True)
class Parcel:
    """What goes to a repository."""

    files: dict[str, Path]
    """Place in the repository to the file here."""
    row: Row | None
    """Of a run; None if these are rows."""

    @property
    def folder(self) -> str | None:
        """The run's, in the repository."""
        return None if self.row is None else next(iter(self.files)).rpartition("/")[0]


def pack(path: Path, name: str | None = None) -> Parcel:
    """A finished run (its folder or row.json), a file of rows, or a folder of such files, checked.

    Args:
        path: what to send.
        name: what to call it there; by default as it is called here.

    Raises:
        UsageError: there is nothing of that kind, or it cannot be called so.
        CanonbenchError: the run or a row is damaged.
    """
    if path.name == RunFolder(path).row_path.name:
        path = path.parent
    if RunFolder(path).row_path.is_file():
        return _pack_run(path, name)
    found = [path] if path.suffix == ".jsonl" and path.is_file() else sorted(path.glob("*.jsonl"))
    if not found:
        raise UsageError(f"{path}: neither a finished run nor a .jsonl file of rows, nor a folder of such files")
    if name is not None and len(found) > 1:
        raise UsageError(f"--as {name}: {path} holds {len(found)} files of rows, which cannot all be called so")
    for each in found:
        check_rows(each)
    return Parcel({f"rows/{_usable(name or each.stem)}.jsonl": each for each in found}, None)


def _pack_run(folder: Path, name: str | None) -> Parcel:
    row = check_run(folder)
    called = _usable(name or folder.resolve().name)
    there = [each for each in RUN_FILES if (folder / each).is_file()]
    return Parcel({f"runs/{called}/{each}": folder / each for each in there}, row)


def _usable(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name for a repository: use letters, digits, '-', '_' and '.' (--as NAME)")
    return name


def check_rows(path: Path) -> None:
    """The file holds rows, and at least one; CanonbenchError otherwise, in one line that names it."""
    if not read_rows_file(path):
        raise CanonbenchError(f"{path} holds no row")


def check_run(folder: Path) -> Row:
    """The row of the run in ``folder``, whose success rates follow from its examples; CanonbenchError otherwise."""
    run = read_finished(folder)
    leagues: list[str | None] = [*run.leagues] or [None]
    for league in leagues:
        sides(run, league, run.results(league))
    return run.row


def private_findings(parcel: Parcel) -> Iterator[str]:
    """What in the text files should not be read by others: secrets, and places on this machine."""
    for place, path in parcel.files.items():
        if path.name != EXAMPLES:
            yield from (f"{place}:{line} {what}" for line, what in private_things(path))
