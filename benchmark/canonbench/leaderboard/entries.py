"""Which leagues' tables a row stands in, and why a row stands in none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import Average, LeagueTask, TaskResult
from canonbench.leaderboard.rows import PlacedRow
from canonbench.scoring import Interval
from canonbench.suite.tasks import TASKS

Z_95 = 1.96
"""Standard errors to either side of a mean that make a 95 % interval of the normal distribution."""


@dataclass(frozen=True)
class Entry:
    """One row in one league's table."""

    placed: PlacedRow
    league: str
    tasks: Mapping[str, TaskResult]
    """By task name, the six standard ones; of an edit run each is a LeagueTask."""
    average: Average
    interval: Interval | None
    """95 % of the average Δ success, points: the row's own, else ± 1.96 standard errors; None without either."""
    ratio: float | None
    """The largest loss ratio over the tasks; None where a reported row does not give it."""
    rank: int | None
    """From 1; None: shown, but not ranked."""
    note: str | None
    """Why it is not ranked, or what a reader must know."""

    @property
    def delta(self) -> float:
        """The average Δ success, points."""
        assert self.average.success.delta is not None, "a row on the board has a base"
        return self.average.success.delta

    @property
    def unreliable(self) -> bool:
        """Whether it is shown without being ranked."""
        return any(flag.name == "unreliable" for flag in self.placed.row.flags)


def exclusion(row: Row) -> str | None:
    """Why the row stands in no table, in one line, or None."""
    for flag in row.flags:
        if flag.name in {"superseded", "partial"}:
            return f"{flag.name}: {flag.reason}"
    if row.base is None:
        return "scored without a base, so there is no change to rank"
    if row.limit is not None:
        return f"scores only the first {row.limit} rows of every file (limit)"
    averages = [average for _, _, average in _results(row)]
    if not averages:
        return "in no league"
    incomplete = next((average for average in averages if not average.complete), None)
    return None if incomplete is None else _other_tasks(incomplete.tasks)


def entries(placed: PlacedRow) -> list[Entry]:
    """An entry, not ranked yet, for every league that the row is in; of an edit run those that it chose for.

    A fixed checkpoint is in the leagues in which its loss ratio is clearly within the bound; ``uncertain`` is not in.
    """
    return [
        Entry(
            placed,
            league,
            tasks,
            average,
            interval=_interval(tasks, average),
            ratio=_ratio(placed.row, tasks),
            rank=None,
            note=sentences(_notes(placed.row, tasks)),
        )
        for league, tasks, average in _results(placed.row)
    ]


def sentences(notes: Iterable[str | None]) -> str | None:
    """The notes in one line, each ended by a full stop; None if there is none."""
    return " ".join(note if note.endswith(".") else f"{note}." for note in notes if note) or None


def _results(row: Row) -> Iterator[tuple[str, Mapping[str, TaskResult], Average]]:
    """Per league that the row is in: its tasks and their average."""
    if row.leagues is not None:
        for name, league in row.leagues.items():
            yield name, league.tasks, league.average
    elif row.general is not None and row.tasks is not None and row.average is not None:
        for name, membership in row.general.leagues.items():
            if membership == "in":
                yield name, row.tasks, row.average


def _other_tasks(scored: Sequence[str]) -> str:
    own = [name for name in scored if name not in TASKS]
    standard = [name for name in scored if name in TASKS]
    also = f"; and tasks of its own: {', '.join(own)}" if own else ""
    return f"scores {len(standard)} of the {len(TASKS)} standard tasks: {', '.join(standard) or 'none'}{also}"


def _interval(tasks: Mapping[str, TaskResult], average: Average) -> Interval | None:
    """The average's own, else from the tasks' standard errors, which are independent: SE = √(Σ SE²) / n."""
    if average.success.ci is not None:
        return Interval(*average.success.ci)
    errors = [task.standard_error if isinstance(task, LeagueTask) else None for task in tasks.values()]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors) or average.success.delta is None:
        return None
    half = Z_95 * math.hypot(*known) / len(known)
    return Interval(average.success.delta - half, average.success.delta + half)


def _ratio(row: Row, tasks: Mapping[str, TaskResult]) -> float | None:
    if row.tasks is not None:
        return row.general.ratio if row.general else None
    ratios = [task.ratio if isinstance(task, LeagueTask) else None for task in tasks.values()]
    known = [ratio for ratio in ratios if ratio is not None]
    return max(known) if len(known) == len(ratios) else None


def _notes(row: Row, tasks: Mapping[str, TaskResult]) -> Iterator[str]:
    for flag in row.flags:
        yield f"{flag.name}: {flag.reason}"
    if row.provenance.note:
        yield row.provenance.note
    for verdict in ("uncertain", "out"):
        of = [name for name, task in tasks.items() if isinstance(task, LeagueTask) and task.membership == verdict]
        if of:
            said = "within the noise of the league's bound" if verdict == "uncertain" else "over the league's bound"
            yield f"Mean loss ratio {said}: {', '.join(of)}"
