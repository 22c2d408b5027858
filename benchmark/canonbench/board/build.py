"""What the models of the board's rows scored, from the per-example values that are kept beside the rows.

The board's pages on disk: written from the rows, and checked against them.
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
"""How a reference to a file that is not in the repository begins."""


def scores_in(root: Path) -> Scores:
    """Scores from the files under ``root``; None for a row whose file is on the hub, which the board never fetches.

    They raise CanonbenchError in one line if a file is missing, damaged, or not the one that its row was computed from.
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
"""Between these lines of the repository's README.md stands the head of the board."""


class Places(NamedTuple):
    """Where the board's files are."""

    rows: Path
    """The folder of rows; in a checkout leaderboard/rows."""
    out: Path
    """The folder of pages; in a checkout leaderboard."""

    @property
    def root(self) -> Path:
        """Of the checkout: what rows call their files from."""
        return Path(os.path.relpath(self.rows.resolve().parent.parent))

    @property
    def readme(self) -> Path | None:
        """The repository's own, if it has a place for the head and the pages stand where its links lead."""
        path = self.root / "README.md"
        if self.out.resolve() != self.rows.resolve().parent or not path.is_file() or BEGIN not in read_text(path):
            return None
        return path


def read_board(places: Places) -> Board:
    """The board of the rows.

    Raises:
        CanonbenchError: a row, or a file that a row was computed from, cannot be read.
    """
    return board(read_rows(places.rows), scores_in(places.root))


def build(places: Places) -> list[Path]:
    """Write every page, and nothing where a page stands already as it should; the files that changed.

    The same rows give the same bytes. Plots that the board no longer has are removed.

    Raises:
        CanonbenchError: as ``read_board``; or a page cannot be written.
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
    """Where the pages disagree with the rows, in one line each.

    Raises:
        CanonbenchError: as ``read_board``.
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
    """Every page and its text."""
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
