"""The board in other formats, each one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from canonbench.files import write_whole, written
from canonbench.leaderboard.board import Board
from canonbench.leaderboard.export import to_csv, to_parquet
from canonbench.leaderboard.export_latex import to_bibtex, to_latex
from canonbench.leaderboard.submission import Submission, read_submission
from canonbench.runs.board_files import Places, read_board
from canonbench.runs.checkout import Checkout


class Format(NamedTuple):
    """One format."""

    file: str
    """What its file is called."""
    of: Callable[[Board, Path], str | bytes]
    """The board, and the checkout's root for what rows only name."""


FORMATS = {
    "csv": Format("leaderboard.csv", lambda board, _: to_csv(board)),
    "parquet": Format("leaderboard.parquet", lambda board, _: to_parquet(board)),
    "latex": Format("leaderboard.tex", lambda board, _: to_latex(board)),
    "bibtex": Format("leaderboard.bib", lambda board, root: to_bibtex(_submissions(board, root))),
}


def export(places: Places, name: str) -> Path:
    """Write the board in one of ``FORMATS`` into the folder of pages; the file.

    Raises:
        CanonbenchError: as ``read_board``; for BibTeX also if a row's submission cannot be read; or the file cannot be
            written.
    """
    form = FORMATS[name]
    content = form.of(read_board(places), places.root)
    path = places.out / form.file
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return path


def _submissions(board: Board, root: Path) -> dict[str, Submission]:
    checkout = Checkout(root)
    names = {entry.placed.row.submission for table in board.tables for entry in table.entries}
    return {name: read_submission(checkout.submission(name)) for name in names if name is not None}
