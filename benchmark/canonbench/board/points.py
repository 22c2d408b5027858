"""The board's entries as points of its plots, and what a group of tables is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, TypedDict

from canonbench.board.board import Board, Entry, Table, Track
from canonbench.results import ComparableGroup, Row

SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")
UNIT = {"m": 1e6, "b": 1e9}
NAMED_WITHOUT_SIZE = {
    "demo": 135e6,
    "demo-backpack": 7.4e6,
    "demo-gpt2": 7.2e6,
    "gpt2": 124e6,
    "backpack-gpt2": 170e6,
}
"""Parameters of models whose name does not say how many (the Backpack's: workshop paper, section 4)."""
HASH = 8
"""Digits of a hash that tell two groups of one name apart."""


class Point(TypedDict):
    """What the plots know of an entry."""

    row: str
    """Its row's id."""
    method: str
    base: str
    league: str
    delta: float
    """Δ success on average, points."""
    low: float | None
    high: float | None
    """Of its 95 % interval."""
    hard: float | None
    """Δ on hard negatives, nats."""
    excess: float | None
    """The largest loss ratio − 1."""
    size: float | None
    """Parameters of the base model."""


class Field(NamedTuple):
    """The tables that share a group and a track, and differ in the league."""

    group: ComparableGroup
    track: Track
    name: str
    """Names one group alone."""
    tables: tuple[Table, ...]

    @property
    def methods(self) -> list[str]:
        """Of all tables, in alphabetical order."""
        return sorted({method_of(entry.placed.row) for table in self.tables for entry in table.entries})

    @property
    def leagues(self) -> dict[str, float]:
        """Label to ε."""
        return {table.league: float(table.league) for table in self.tables}


def fields(board: Board) -> list[Field]:
    """The board's tables by group and track, in the board's order."""
    groups = list(dict.fromkeys(table.group for table in board.tables))
    names = dict(zip(groups, group_names(groups), strict=True))
    return [
        Field(group, track, names[group], tuple(tables))
        for (group, track), tables in groupby(board.tables, key=lambda table: (table.group, table.track))
    ]


def group_names(groups: Iterable[ComparableGroup]) -> list[str]:
    """What people call the groups; where two would be called the same, with the beginning of their data's hash."""
    listed = list(groups)
    plain = [_plain_name(group) for group in listed]
    hashes = [f"{group.data_hash or 'none'} {group.general_hash or 'none'}".split() for group in listed]
    return [
        name if plain.count(name) == 1 else f"{name}, data {data[:HASH]}, general text {general[:HASH]}"
        for name, (data, general) in zip(plain, hashes, strict=True)
    ]


def point(entry: Entry) -> Point:
    """The entry's."""
    row, hard = entry.placed.row, entry.average.hard_negatives
    delta = entry.average.success.delta
    assert delta is not None, "a row without a base stands in no table"
    return Point(
        row=row.row_id,
        method=method_of(row),
        base=base_of(row),
        league=entry.league,
        delta=delta,
        low=entry.interval[0] if entry.interval else None,
        high=entry.interval[1] if entry.interval else None,
        hard=hard.delta if hard else None,
        excess=None if entry.ratio is None else round(entry.ratio - 1, 9),
        size=model_size(base_of(row)),
    )


def points(field: Field) -> Iterator[Point]:
    """Those of all leagues."""
    return (point(entry) for table in field.tables for entry in table.entries)


def method_of(row: Row) -> str:
    """The method's name; of a checkpoint its submission's, such as an ensemble's, else its own."""
    return row.method or row.submission or row.model.name


def base_of(row: Row) -> str:
    """The name of the model that was edited."""
    return (row.base or row.model).name


def model_size(name: str) -> float | None:
    """Parameters, as far as a model's name says: pythia-1.4b, SmolLM2-135M-Instruct."""
    short = name.rsplit("/", 1)[-1].lower()
    if short in NAMED_WITHOUT_SIZE:
        return NAMED_WITHOUT_SIZE[short]
    found = SIZE.search(short)
    return float(found[1]) * UNIT[found[2]] if found else None


def _plain_name(group: ComparableGroup) -> str:
    parts = [f"{group.suite}, {group.split}"]
    parts += [f"general text {group.general}"] if group.general else []
    parts += [group.protocol, "half precision" if group.dtype_class == "half" else "float32"]
    parts += [f"first {group.limit} rows"] if group.limit else []
    return ", ".join(parts)
