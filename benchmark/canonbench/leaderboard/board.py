"""The board: which rows stand in which table, in which order, with which rank, and which are left out and why.

Everything that shows the board (Markdown, web page, plots, exports) is a function of these values alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from canonbench.leaderboard.compare import Side
from canonbench.leaderboard.entries import Entry, entries, exclusion, sentences
from canonbench.leaderboard.ranks import Contender, Gains, Ranking, average_gains, ranking
from canonbench.leaderboard.row import ComparableGroup
from canonbench.leaderboard.rows import PlacedRow

__all__ = ["Board", "Entry", "Excluded", "RankedBy", "Scores", "Table", "Track", "board"]

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
