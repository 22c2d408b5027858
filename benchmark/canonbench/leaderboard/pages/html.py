"""The board's web page: one file that works from disk and without network."""

from __future__ import annotations

from markupsafe import Markup

from canonbench.leaderboard.board import Board, Scores
from canonbench.leaderboard.pages.document import asset, document
from canonbench.leaderboard.pages.points import base_of, method_of
from canonbench.leaderboard.pages.records import Texts, board_data
from canonbench.leaderboard.pages.vendored import data_tables, licences, vega
from canonbench.leaderboard.pages.words import file_of

SCRIPTS = ("format.js", "state.js", "figures.js", "details.js", "table.js", "board.js")
"""One module, in this order."""


def html_page(board: Board, scores: Scores, texts: Texts) -> str:
    """The whole page; the same board gives the same bytes.

    Args:
        board: what to show.
        scores: asked about every entry with per-example values, for the rows that it fixed and broke.
        texts: the evaluation examples of a group whose texts may be published; None for others.

    Raises:
        CanonbenchError: a library that the page holds is not installed.
    """
    excluded = [
        {"method": method_of(placed.row), "base": base_of(placed.row), "place": file_of(placed.place), "reason": reason}
        for placed, reason in board.excluded
    ]
    libraries = [data_tables(), vega()]
    return document(
        "board.html",
        scripts=[*(library.script for library in libraries), "\n".join(asset(name) for name in SCRIPTS)],
        data=board_data(board, scores, texts),
        board_style=Markup(asset("board.css")),
        excluded=excluded,
        n_rows=len({entry.placed.row.row_id for table in board.tables for entry in table.entries}),
        libraries=[library.name for library in libraries],
        licences=licences(),
    )
