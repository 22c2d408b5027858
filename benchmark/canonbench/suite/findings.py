"""What a check of a suite finds: one line per problem, addressed as compilers do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Level = Literal["error", "warning", "note"]
"""``error``: a score on this data would not mean what it says. ``warning``: it would, but less well.
``note``: what could not be checked."""


class Finding(NamedTuple):
    """One problem; ``str`` of it is ``path:line: message``."""

    level: Level
    task: str | None
    split: str | None
    part: str | None
    row: int | None
    """0-based; None where the finding is about a whole file or suite."""
    path: Path
    message: str
    rule: str
    """The rule's short name, as in docs/reference/data-check.md."""

    def __str__(self) -> str:
        """The one line, lines counted from 1."""
        line = "" if self.row is None else f":{self.row + 1}"
        return f"{self.path}{line}: {self.message}"
