"""Draw up the board: the tables, the order and rank of the rows in them, and the excluded rows with the reason.

A row is entered in the table of each league that it is in. Everything that shows the board (Markdown, web page, plots,
exports) is a function of these values alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from canonbench.board.ranks import Contender, Gains, Ranking, average_gains, ranking
from canonbench.results import Average, ComparableGroup, LeagueTask, PlacedRow, Row, Side, TaskResult
from canonbench.scoring import Interval
from canonbench.suite import TASKS

__all__ = ["Board", "Entry", "Excluded", "RankedBy", "Scores", "Table", "Track", "board"]

Z_95 = 1.96
"""Standard errors to either side of a mean that make a 95 % interval of the normal distribution."""


@dataclass(frozen=True)
class Entry:
    """One row in one league's table."""

    placed: PlacedRow
    league: str
    tasks: Mapping[str, TaskResult]
    """Results by task name, the six standard tasks; each is a LeagueTask for an edit run."""
    average: Average
    interval: Interval | None
    """95 % interval of the average Δ success, points: the row's own, else ± 1.96 standard errors; None if neither."""
    ratio: float | None
    """The largest loss ratio over the tasks; None if a reported row does not give it."""
    rank: int | None
    """Rank from 1; None if the row is shown but not ranked."""
    note: str | None
    """Why the row is not ranked, or what a reader must know about it."""

    @property
    def delta(self) -> float:
        """The average Δ success, points."""
        assert self.average.success.delta is not None, "a row on the board has a base"
        return self.average.success.delta

    @property
    def unreliable(self) -> bool:
        """Whether the row is shown without being ranked."""
        return any(flag.name == "unreliable" for flag in self.placed.row.flags)


def exclusion(row: Row) -> str | None:
    """Return why the row is in no table, in one line, or None if it is in one."""
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
    """Make an entry, not ranked yet, for every league that the row is in; an edit run is in those that it chose for.

    A fixed checkpoint is in a league if its loss ratio is clearly within the bound; ``uncertain`` does not count as in.
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
    """Join the notes in one line, each ended by a full stop; None without notes."""
    return " ".join(note if note.endswith(".") else f"{note}." for note in notes if note) or None


def _results(row: Row) -> Iterator[tuple[str, Mapping[str, TaskResult], Average]]:
    """The tasks and their average, for each league that the row is in."""
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
    """The average's own interval, else from the tasks' standard errors, which are independent: SE = √(Σ SE²) / n."""
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


Track = Literal["per-task", "joint"]
RankedBy = Literal["paired", "intervals", "mixed"]
"""How rows were separated: by paired tests on per-example values, by intervals that do not overlap, or by both."""
Scores = Callable[[Entry], Mapping[str, Side] | None]
"""Function from an entry to its models' scores by task; None if its per-example values are not available."""
NO_INTERVAL = "Gives no interval, so nothing tells it from its neighbours."


@dataclass(frozen=True)
class Table:
    """The rows that may be ranked against each other in one league.

    The best average Δ success comes first; unranked rows come last.
    """

    group: ComparableGroup
    track: Track
    league: str
    entries: tuple[Entry, ...]
    ranked_by: RankedBy | None
    """How rows were separated; None if no two rows could be compared."""


class Excluded(NamedTuple):
    """A row that is in no table, and why."""

    placed: PlacedRow
    reason: str


@dataclass(frozen=True)
class Board:
    """All rows: each is in a table or listed as excluded."""

    tables: tuple[Table, ...]
    """Tables by group, track and league, the widest league first."""
    excluded: tuple[Excluded, ...]


class _Key(NamedTuple):
    group: ComparableGroup
    track: Track
    league: str


def board(rows: Iterable[PlacedRow], scores: Scores) -> Board:
    """Draw up the board. Pure; the result does not depend on the order of the rows.

    Args:
        rows: all rows, with their places.
        scores: called only for entries with per-example values that share a table with another such entry.
    """
    tables: dict[_Key, list[Entry]] = defaultdict(list)
    excluded = []
    for placed in rows:
        reason = exclusion(placed.row)
        if reason is not None:
            excluded.append(Excluded(placed, reason))
            continue
        for entry in entries(placed):
            tables[_Key(placed.row.comparable_group, placed.row.track, entry.league)].append(entry)
    return Board(
        tuple(_table(key, tables[key], scores) for key in sorted(tables, key=_order)),
        tuple(sorted(excluded, key=lambda each: _names(each.placed))),
    )


def _order(key: _Key) -> tuple[object, ...]:
    """Sort key: published, mini, then others; test before val; per-task before joint; wide before tight leagues."""
    suite = key.group.suite.partition(" ")[0]
    known = ("published", "mini")
    group = tuple("" if part is None else str(part) for part in key.group)
    return (
        known.index(suite) if suite in known else len(known),
        key.group.split != "test",
        group,
        key.track != "per-task",
        -float(key.league),
        key.league,
    )


def _names(placed: PlacedRow) -> tuple[str, ...]:
    """Sort key of rows that are equal in everything else; not their place in the files, which is arbitrary."""
    row = placed.row
    return (row.method or "", row.model.name, row.row_id)


def _table(key: _Key, found: Sequence[Entry], scores: Scores) -> Table:
    ordered = sorted(found, key=lambda entry: (-entry.delta, *_names(entry.placed)))
    contending = [entry for entry in ordered if not entry.unreliable]
    contenders = _contenders(contending, scores)
    result = ranking(contenders)
    ranked = [
        _ranked(entry, rank, alone=not contender.comparable and len(contending) > 1)
        for entry, contender, rank in zip(contending, contenders, result.ranks, strict=True)
    ]
    unranked = [entry for entry in ordered if entry.unreliable]
    return Table(key.group, key.track, key.league, (*ranked, *unranked), _ranked_by(result))


def _contenders(contending: Sequence[Entry], scores: Scores) -> list[Contender]:
    with_examples = [entry.placed.row.examples is not None for entry in contending]
    several = sum(with_examples) > 1
    return [
        Contender(entry.interval, _gains(entry, scores) if several and has else None)
        for entry, has in zip(contending, with_examples, strict=True)
    ]


def _gains(entry: Entry, scores: Scores) -> Gains | None:
    sides = scores(entry)
    if sides is None:
        return None
    return average_gains(sides, {name: task.threshold for name, task in sorted(entry.tasks.items())})


def _ranked(entry: Entry, rank: int, *, alone: bool) -> Entry:
    return replace(entry, rank=rank, note=sentences([entry.note, NO_INTERVAL if alone else None]))


def _ranked_by(result: Ranking) -> RankedBy | None:
    if len(result.ways) > 1:
        return "mixed"
    return next(iter(result.ways), None)
