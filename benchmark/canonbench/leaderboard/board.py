"""The board: which rows stand in which table, in which order, with which rank, and which are left out and why.

Everything that shows the board (Markdown, web page, plots, exports) is a function of these values alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from canonbench.leaderboard.row import ComparableGroup
from canonbench.leaderboard.row_results import Average, TaskResult
from canonbench.leaderboard.rows import PlacedRow
from canonbench.scoring import Interval

Track = Literal["per-task", "joint"]
RankedBy = Literal["paired", "intervals", "mixed"]
"""What told neighbours apart: paired tests on per-example values, intervals that do not overlap, or some each."""


@dataclass(frozen=True)
class Entry:
    """One row in one league's table."""

    placed: PlacedRow
    league: str
    tasks: Mapping[str, TaskResult]
    """By task name; of an edit run each is a LeagueTask."""
    average: Average
    interval: Interval | None
    """95 % of the average Δ success, points: the row's own, else ± 1.96 standard errors; None without either."""
    ratio: float | None
    """The largest loss ratio over the tasks; None where a reported row does not give it."""
    rank: int | None
    """From 1; None: shown, but not ranked."""
    note: str | None
    """Why it is not ranked, or what a reader must know."""


@dataclass(frozen=True)
class Table:
    """The rows that may be ranked against each other in one league, the best average Δ success first."""

    group: ComparableGroup
    track: Track
    league: str
    entries: tuple[Entry, ...]
    ranked_by: RankedBy | None
    """None with fewer than two ranked rows: there was nothing to tell apart."""


class Excluded(NamedTuple):
    """A row that stands in no table."""

    placed: PlacedRow
    reason: str


@dataclass(frozen=True)
class Board:
    """All rows: every one stands in a table or is listed as excluded."""

    tables: tuple[Table, ...]
    """By group, track and league, the widest league first."""
    excluded: tuple[Excluded, ...]
