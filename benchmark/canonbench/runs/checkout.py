"""Where a checkout of the repository keeps the board: ``leaderboard/rows`` and ``submissions``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from canonbench.errors import UsageError
from canonbench.leaderboard.submission import NAME


@dataclass(frozen=True)
class Checkout:
    """The board's part of a checkout."""

    root: Path

    @property
    def rows(self) -> Path:
        """Folder of the rows, a file per submission."""
        return self.root / "leaderboard" / "rows"

    @property
    def submissions(self) -> Path:
        """A folder per submission."""
        return self.root / "submissions"

    def submission(self, name: str) -> Path:
        """Folder of a submission; UsageError if that is no name for one."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a submission's name: use lower-case letters, digits, single hyphens")
        return self.submissions / name

    def rows_file(self, name: str) -> Path:
        """Rows that were submitted under a name."""
        return self.rows / f"{name}.jsonl"

    def names(self) -> list[str]:
        """Every submission, in order."""
        return sorted(path.name for path in self.submissions.iterdir() if path.is_dir())

    def place(self, path: Path) -> str:
        """A file's place from the root, as rows name it."""
        return path.relative_to(self.root).as_posix()


def find_checkout(start: str | Path | None = None) -> Checkout:
    """The checkout at or above ``start``, by default the working folder.

    Raises:
        UsageError: there is none.
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
