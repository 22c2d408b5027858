"""Find the board in a checkout of the repository, and collect what ``canonbench validate`` finds there.

The board is in ``leaderboard/rows`` and ``submissions``; a finding is one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.submission import NAME


@dataclass(frozen=True)
class Checkout:
    """The paths of the board in a checkout."""

    root: Path

    @property
    def rows(self) -> Path:
        """Folder of the rows, one file per submission."""
        return self.root / "leaderboard" / "rows"

    @property
    def submissions(self) -> Path:
        """Folder of the submissions, one folder each."""
        return self.root / "submissions"

    def submission(self, name: str) -> Path:
        """Folder of a submission; UsageError if the name is not valid."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a submission's name: use lower-case letters, digits, single hyphens")
        return self.submissions / name

    def rows_file(self, name: str) -> Path:
        """File of the rows submitted under a name."""
        return self.rows / f"{name}.jsonl"

    def names(self) -> list[str]:
        """Names of all submissions, sorted."""
        return sorted(path.name for path in self.submissions.iterdir() if path.is_dir())

    def place(self, path: Path) -> str:
        """A file's path relative to the root, as rows name it."""
        return path.relative_to(self.root).as_posix()


def find_checkout(start: str | Path | None = None) -> Checkout:
    """Find the checkout at or above ``start``, by default the working folder.

    Raises:
        UsageError: no checkout was found.
    """
    given = Path(start) if start is not None else Path()
    for folder in (given, *given.resolve().parents):
        found = Checkout(Path(os.path.relpath(folder)) if start is None else folder)
        if found.rows.is_dir() and found.submissions.is_dir():
            return found
    raise UsageError(
        f"{given.resolve()} is not in a checkout of the leaderboard (a folder with leaderboard/rows and submissions); "
        "change into one, or name it with --root"
    )


class BoardFinding(NamedTuple):
    """One finding; ``str`` gives the line ``place: message``."""

    level: Literal["error", "todo", "note"]
    """``todo``: text that only a person can write. ``note``: something that could not be checked here."""
    place: str
    """File relative to the root of the checkout, with the line if known."""
    message: str

    def __str__(self) -> str:
        """The finding as one line."""
        return f"{self.place}: {self.message}"


@dataclass
class Findings:
    """Collects findings about the files under one root."""

    root: Path
    found: list[BoardFinding] = field(default_factory=list)

    def error(self, place: str, message: str) -> None:
        """Add something that must be corrected."""
        self.found.append(BoardFinding("error", place, message))

    def todo(self, place: str, message: str) -> None:
        """Add something that a person must still write."""
        self.found.append(BoardFinding("todo", place, message))

    def note(self, place: str, message: str) -> None:
        """Add something that could not be checked."""
        self.found.append(BoardFinding("note", place, message))

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Turn an error in the block into a finding at ``place``, or at the place that its message begins with."""
        try:
            yield
        except CanonbenchError as error:
            message = str(error) if self.root == Path() else str(error).replace(f"{self.root}/", "")
            own, colon, rest = message.partition(": ")
            is_place = bool(colon) and own.startswith(place)
            self.error(*((own, rest) if is_place else (place, message)))
