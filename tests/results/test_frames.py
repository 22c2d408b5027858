"""Rows as data frames: every number of a row stands on the line of its task and league."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import canonbench
from canonbench.errors import CanonbenchError
from canonbench.results.frames import COLUMNS, row_frame
from canonbench.results.rows import read_rows

ROWS = Path(__file__).resolve().parents[2] / "leaderboard" / "rows"


def test_every_task_and_league_of_every_row_has_a_line_with_its_numbers() -> None:
    for placed in read_rows(ROWS):
        row, frame = placed.row, placed.row.to_frame()
        parts = {None: row.tasks} if row.leagues is None else {name: each.tasks for name, each in row.leagues.items()}
        assert len(frame) == sum(len(tasks or {}) for tasks in parts.values())
        for league, tasks in parts.items():
            for task, result in (tasks or {}).items():
                of_league = frame.league.isna() if league is None else frame.league == league
                line = frame[of_league & (frame.task == task)].iloc[0]
                assert line.success_edited == result.success.edited
                if result.success.ci is None:
                    assert pd.isna(line.success_low)
                else:
                    assert (line.success_low, line.success_high) == tuple(result.success.ci)


def test_load_rows_holds_all_rows_of_a_folder() -> None:
    frame = canonbench.load_rows(ROWS)
    assert tuple(frame.columns) == COLUMNS
    assert set(frame.row) == {placed.row.row_id for placed in read_rows(ROWS)}
    assert frame[frame.row == frame.row[0]].reset_index(drop=True).equals(row_frame(read_rows(ROWS)[0].row))


def test_a_folder_without_rows_gives_an_empty_frame_and_no_folder_an_error(tmp_path: Path) -> None:
    assert canonbench.load_rows(tmp_path).empty
    with pytest.raises(CanonbenchError, match="no such folder of rows"):
        canonbench.load_rows(tmp_path / "none")
