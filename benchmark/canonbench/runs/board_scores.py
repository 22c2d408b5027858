"""What the models of the board's rows scored, from the per-example values that are kept beside the rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from canonbench.errors import CanonbenchError
from canonbench.files import file_hash
from canonbench.leaderboard.board import Scores
from canonbench.leaderboard.compact import read_examples
from canonbench.leaderboard.compare import Side
from canonbench.leaderboard.entries import Entry
from canonbench.runs.finished import Finished, sides

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
