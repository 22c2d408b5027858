"""The finished val run that a test run follows: its hyperparameters, and how far it let every task go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError, UsageError
from canonbench.leaderboard.row import Row
from canonbench.runs.finished import row_path_of
from canonbench.runs.settings import Asked
from canonbench.scoring.selection import UNEDITED


@dataclass(frozen=True)
class Chosen:
    """What a val run chose."""

    row: Row
    hyperparameters: Mapping[str, Any]
    digest: str
    """Of the row's content."""

    def candidate(self, task: str, league: str) -> int:
        """The candidate chosen for a task in a league; 0 = the unedited model."""
        assert self.row.leagues is not None
        return self.row.leagues[league].tasks[task].candidate or UNEDITED


def read_chosen(path: Path, asked: Asked, method: str) -> Chosen:
    """The val run in ``path`` (a run folder, or its row).

    Raises:
        CanonbenchError: there is no finished val run, or it is not one that a test run of ``asked`` could follow.
    """
    row = Row.read(row_path_of(path))
    if row.leagues is None or row.split != "val":
        raise CanonbenchError(f"{path} is not the row of a val run of 'canonbench edit'")
    for what, there, here in (
        ("method", row.method, method),
        ("suite", row.suite.name, asked.suite.name),
        ("protocol", row.protocol, asked.protocol.name),
    ):
        if there != here:
            raise UsageError(f"{path} chose for {what} {there!r}, this run is for {here!r}")
    for label in asked.protocol.leagues:
        if label not in row.leagues:
            raise UsageError(f"{path} chose nothing for league {label}; it has {', '.join(row.leagues)}")
        if missing := [task for task in asked.tasks if task not in row.leagues[label].tasks]:
            raise UsageError(f"{path} chose nothing for task {missing[0]!r}; run it on val first")
    return Chosen(row, row.hyperparameters or {}, hashlib.sha256(row.to_json().encode()).hexdigest())
