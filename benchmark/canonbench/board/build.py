"""Write the board's pages from the rows, and check the pages on disk against them.

The file also reads the scores of a row's models from the per-example values that are kept with the rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from canonbench.board.board import Board, Entry, Scores, board
from canonbench.board.html import html_page
from canonbench.board.markdown import PAGE, PLOTS, board_page, head
from canonbench.board.plots import plots
from canonbench.board.texts import embedded_texts
from canonbench.errors import CanonbenchError
from canonbench.files import file_hash, read_text, write_whole
from canonbench.results import Finished, Side, read_examples, read_rows, sides

if TYPE_CHECKING:
    import pyarrow


HUB = "hf://"
"""Prefix of a reference to a file that is on the hub instead of in the repository."""


def scores_in(root: Path) -> Scores:
    """Return a function that reads scores under ``root``; it gives None for a file on the hub, which is never fetched.

    The function raises CanonbenchError in one line if a file is missing, damaged, or not the one its row names.
    """

    @cache
    def read(file: str, sha256: str) -> pyarrow.Table:
        path = root / file
        if file_hash(path) != sha256:
            raise CanonbenchError(f"{path} is not the file that its row names: it has another SHA-256")
        return read_examples(path)

    def scores(entry: Entry) -> Mapping[str, Side] | None:
        row = entry.placed.row
        if row.examples is None or row.examples.file.startswith(HUB):
            return None
        try:
            run = Finished(row.examples.file, row, read(row.examples.file, row.examples.sha256))
            return sides(run, None if row.leagues is None else entry.league, entry.tasks)
        except CanonbenchError as error:
            raise CanonbenchError(f"{entry.placed.place}: {error}") from error

    return scores


BEGIN, END = "<!-- leaderboard: begin -->", "<!-- leaderboard: end -->"
"""Lines of the repository's README.md between which the head of the board is written."""


class Places(NamedTuple):
    """The places of the board's files."""

    rows: Path
    """Folder of the rows; leaderboard/rows in a checkout."""
    out: Path
    """Folder of the pages; leaderboard in a checkout."""

    @property
    def root(self) -> Path:
        """Root of the checkout; rows name their files relative to it."""
        return Path(os.path.relpath(self.rows.resolve().parent.parent))

    @property
    def readme(self) -> Path | None:
        """The repository's README.md, if it has a place for the head and its links lead to the pages; else None."""
        path = self.root / "README.md"
        if self.out.resolve() != self.rows.resolve().parent or not path.is_file() or BEGIN not in read_text(path):
            return None
        return path


def read_board(places: Places) -> Board:
    """Read the rows and draw up the board.

    Raises:
        CanonbenchError: a row, or a file that a row was computed from, cannot be read.
    """
    return board(read_rows(places.rows), scores_in(places.root))


def build(places: Places) -> list[Path]:
    """Write every page that is not up to date, and return the files that changed.

    The same rows give the same bytes. Plots that the board no longer has are removed.

    Raises:
        CanonbenchError: as in ``read_board``; or a page cannot be written.
    """
    wanted = _wanted(places)
    changed = [path for path, text in wanted.items() if not path.is_file() or read_text(path) != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, wanted[path])
    stale = _stale(places, wanted)
    for path in stale:
        path.unlink()
    return [*changed, *stale]


def check(places: Places) -> list[str]:
    """List where the pages disagree with the rows, one line each.

    Raises:
        CanonbenchError: as in ``read_board``.
    """
    wanted = _wanted(places)
    found = []
    for path, text in wanted.items():
        if not path.is_file():
            found.append(f"{path}: missing")
        elif (there := read_text(path)) != text:
            found.append(f"{path}: differs from the rows at line {_first_difference(there, text)}")
    return found + [f"{path}: nothing in the rows asks for it" for path in _stale(places, wanted)]


def _wanted(places: Places) -> dict[Path, str]:
    """Map every page to its text."""
    scores = scores_in(places.root)
    drawn = board(read_rows(places.rows), scores)
    pictures = plots(drawn)
    wanted = {
        places.out / "README.md": board_page(drawn, list(pictures)),
        places.out / PAGE: html_page(drawn, scores, embedded_texts),
        **{places.out / PLOTS / name: picture for name, picture in pictures.items()},
    }
    if places.readme is not None:
        wanted[places.readme] = _between_markers(read_text(places.readme), head(drawn), places.readme)
    return wanted


def _between_markers(text: str, content: str, path: Path) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or BEGIN in after or END in before:
        raise CanonbenchError(f"{path}: {BEGIN} needs one {END} after it")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def _stale(places: Places, wanted: Mapping[Path, str]) -> list[Path]:
    return [path for path in sorted((places.out / PLOTS).glob("*.svg")) if path not in wanted]


def _first_difference(there: str, text: str) -> int:
    pairs = zip(there.splitlines(), text.splitlines(), strict=False)
    same = min(len(there.splitlines()), len(text.splitlines()))
    return next((number for number, (one, other) in enumerate(pairs, start=1) if one != other), same + 1)
