"""Which leagues' tables a row stands in, and why a row stands in none.

The board: which rows stand in which table, in which order, with which rank, and which are left out and why.

Everything that shows the board (Markdown, web page, plots, exports) is a function of these values alone.
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


Track = Literal["per-task", "joint"]
RankedBy = Literal["paired", "intervals", "mixed"]
"""What told rows apart: paired tests on per-example values, intervals that do not overlap, or some each."""
Scores = Callable[[Entry], Mapping[str, Side] | None]
"""What the entry's models scored, by task; None where no per-example values are at hand."""
NO_INTERVAL = "Gives no interval, so nothing tells it from its neighbours."


@dataclass(frozen=True)
class Table:
    """The rows that may be ranked against each other in one league.

    The best average Δ success comes first; those that are not ranked come last.
    """

    group: ComparableGroup
    track: Track
    league: str
    entries: tuple[Entry, ...]
    ranked_by: RankedBy | None
    """None where no two rows could be compared."""


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


class _Key(NamedTuple):
    group: ComparableGroup
    track: Track
    league: str


def board(rows: Iterable[PlacedRow], scores: Scores) -> Board:
    """Draw up the board. Pure, and the same whatever the order of the rows.

    Args:
        rows: the rows, wherever they stand.
        scores: asked only about entries with per-example values that share a table with another such entry.
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
    """Published before mini before others, test before val, per-task before joint, wide leagues before tight ones."""
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
    """What rows that are equal in everything else stand in order of; not their place, which is nobody's merit."""
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
