"""Rows as pandas data frames: a line per task, and per league where a row has leagues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from canonbench.results.row import Row
from canonbench.results.row_results import LeagueTask, TaskResult
from canonbench.results.rows import read_rows

ABOUT = ("suite", "split", "protocol", "general", "dtype", "track", "method", "model", "base", "state", "row")
"""Columns that say what was measured; the same on every line of a row."""
NUMBERS = (
    *("n", "success_base", "success_edited", "success_delta", "success_low", "success_high", "clean_delta"),
    *("hard_negatives_base", "hard_negatives_edited", "hard_negatives_delta", "ratio", "standard_error", "candidate"),
)
"""Success in percent, its change and interval in points; hard negatives in nats; the ratio of the general loss."""
COLUMNS = (*ABOUT, "league", "task", *NUMBERS)


def row_frame(row: Row) -> pd.DataFrame:
    """The numbers of one row, with the columns ``COLUMNS``; what a row does not have is missing (NA).

    A fixed checkpoint has a line per task and no league. An edit run has a line per league and task.
    """
    about = {
        "suite": row.suite.name,
        "split": row.split,
        "protocol": row.protocol,
        "general": row.general.name if row.general else None,
        "dtype": row.dtype,
        "track": row.track,
        "method": row.method,
        "model": row.model.name,
        "base": row.base.name if row.base else None,
        "state": row.state,
        "row": row.row_id,
    }
    parts = {None: row.tasks or {}} if row.leagues is None else {name: each.tasks for name, each in row.leagues.items()}
    lines = [
        {**about, "league": league, "task": task, **_numbers(result)}
        for league, tasks in parts.items()
        for task, result in tasks.items()
    ]
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    whole = ("n", "candidate")
    return frame.astype({name: "Int64" if name in whole else "Float64" for name in NUMBERS})


def load_rows(folder: str | Path = "leaderboard/rows") -> pd.DataFrame:
    """All rows of a leaderboard as one data frame, by file and line.

    Args:
        folder: the ``*.jsonl`` files; by default those of the checkout that is the working folder.

    Raises:
        CanonbenchError: the folder or a file cannot be read, or a line holds no row.
    """
    frames = [row_frame(placed.row) for placed in read_rows(folder)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def _numbers(result: TaskResult) -> dict[str, Any]:
    low, high = result.success.ci or (None, None)
    hard = result.hard_negatives
    of_league = result if isinstance(result, LeagueTask) else None
    return {
        "n": result.n,
        "success_base": result.success.base,
        "success_edited": result.success.edited,
        "success_delta": result.success.delta,
        "success_low": low,
        "success_high": high,
        "clean_delta": result.clean.delta if result.clean else None,
        "hard_negatives_base": hard.base if hard else None,
        "hard_negatives_edited": hard.edited if hard else None,
        "hard_negatives_delta": hard.delta if hard else None,
        "ratio": of_league.ratio if of_league else None,
        "standard_error": of_league.standard_error if of_league else None,
        "candidate": of_league.candidate if of_league else None,
    }
