"""Convert the board's entries to points of its plots, and name the groups of tables."""

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
"""Numbers of parameters for models whose name does not give it (the Backpack's: workshop paper, section 4)."""
HASH = 8
"""Digits of the data hash that distinguish two groups of the same name."""


class Point(TypedDict):
    """An entry's values in the plots."""

    row: str
    """Id of the row."""
    method: str
    base: str
    league: str
    delta: float
    """Δ success on average, points."""
    low: float | None
    high: float | None
    """Upper end of the 95 % interval."""
    hard: float | None
    """Δ on hard negatives, nats."""
    excess: float | None
    """The largest loss ratio − 1."""
    size: float | None
    """Number of parameters of the base model."""


class Field(NamedTuple):
    """The tables of one group and track, one per league."""

    group: ComparableGroup
    track: Track
    name: str
    """Name of the group, unique on the board."""
    tables: tuple[Table, ...]

    @property
    def methods(self) -> list[str]:
        """Methods of all tables, sorted."""
        return sorted({method_of(entry.placed.row) for table in self.tables for entry in table.entries})

    @property
    def leagues(self) -> dict[str, float]:
        """Map each league's label to its ε."""
        return {table.league: float(table.league) for table in self.tables}


def fields(board: Board) -> list[Field]:
    """Collect the board's tables by group and track, in the board's order."""
    groups = list(dict.fromkeys(table.group for table in board.tables))
    names = dict(zip(groups, group_names(groups), strict=True))
    return [
        Field(group, track, names[group], tuple(tables))
        for (group, track), tables in groupby(board.tables, key=lambda table: (table.group, table.track))
    ]


def group_names(groups: Iterable[ComparableGroup]) -> list[str]:
    """Name the groups; groups of the same name also get the first digits of their data hash."""
    listed = list(groups)
    plain = [_plain_name(group) for group in listed]
    hashes = [f"{group.data_hash or 'none'} {group.general_hash or 'none'}".split() for group in listed]
    return [
        name if plain.count(name) == 1 else f"{name}, data {data[:HASH]}, general text {general[:HASH]}"
        for name, (data, general) in zip(plain, hashes, strict=True)
    ]


def point(entry: Entry) -> Point:
    """Convert an entry to a point."""
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
    """List the points of all leagues."""
    return (point(entry) for table in field.tables for entry in table.entries)


def method_of(row: Row) -> str:
    """The method's name; for a checkpoint without one, its submission's name, else the model's."""
    return row.method or row.submission or row.model.name


def base_of(row: Row) -> str:
    """The name of the model that was edited."""
    return (row.base or row.model).name


def model_size(name: str) -> float | None:
    """Number of parameters, if the model's name gives it: pythia-1.4b, SmolLM2-135M-Instruct."""
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
