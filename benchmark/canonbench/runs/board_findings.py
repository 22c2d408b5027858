"""What ``canonbench validate`` finds: one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from canonbench.errors import CanonbenchError


class BoardFinding(NamedTuple):
    """One line; ``str`` of it is ``place: message``."""

    level: Literal["error", "todo", "note"]
    """``todo``: what only a person can write. ``note``: what could not be checked here."""
    place: str
    """File, and line where there is one, from the root of the checkout."""
    message: str

    def __str__(self) -> str:
        """The line."""
        return f"{self.place}: {self.message}"


@dataclass
class Findings:
    """Collects findings about the files under one root."""

    root: Path
    found: list[BoardFinding] = field(default_factory=list)

    def error(self, place: str, message: str) -> None:
        """What must be put right."""
        self.found.append(BoardFinding("error", place, message))

    def todo(self, place: str, message: str) -> None:
        """What a person must still write."""
        self.found.append(BoardFinding("todo", place, message))

    def note(self, place: str, message: str) -> None:
        """What could not be checked."""
        self.found.append(BoardFinding("note", place, message))

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """An error in the block is a finding at ``place``, or at the place that its message begins with."""
        try:
            yield
        except CanonbenchError as error:
            message = str(error) if self.root == Path() else str(error).replace(f"{self.root}/", "")
            own, colon, rest = message.partition(": ")
            is_place = bool(colon) and own.startswith(place)
            self.error(*((own, rest) if is_place else (place, message)))
