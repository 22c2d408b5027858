"""The board as one flat table, for other programs: CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import BytesIO, StringIO
from typing import Any

from canonbench.leaderboard.board import Board, Entry, Table
from canonbench.leaderboard.row_results import LeagueTask, TaskResult
from canonbench.suite.tasks import TASKS

TEXT = (
    *("suite", "data_hash", "split", "general", "general_hash", "protocol", "dtype_class", "track", "league"),
    *("row", "method", "model", "base", "submission", "state", "flags", "source", "note"),
)
AVERAGE = ("base", "edited", "delta", "low", "high", "hard_negatives_delta", "ratio")
OF_TASK = ("base", "edited", "delta", "low", "high", "standard_error", "hard_negatives_delta", "ratio")
NUMBERS = (*(f"average_{name}" for name in AVERAGE), *(f"{task}_{name}" for task in TASKS for name in OF_TASK))
COLUMNS = (*TEXT, "rank", *NUMBERS)
"""A line per row and league. Success in percent, its Δ and interval in points, hard negatives in nats."""
FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet would compute; in CSV such a text gets an apostrophe before it."""


def records(board: Board) -> Iterator[dict[str, Any]]:
    """Every entry of every table as ``COLUMNS``; None where there is nothing."""
    for table in board.tables:
        for entry in table.entries:
            yield _record(table, entry)


def to_csv(board: Board) -> str:
    """CSV with a line of names; what there is not is empty."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in records(board):
        writer.writerow({**record, **{name: _harmless(record[name]) for name in TEXT}})
    return text.getvalue()


def to_parquet(board: Board) -> bytes:
    """The same in Parquet, with types."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    types = {**dict.fromkeys(TEXT, pa.string()), "rank": pa.int64(), **dict.fromkeys(NUMBERS, pa.float64())}
    file = BytesIO()
    pq.write_table(pa.Table.from_pylist(list(records(board)), schema=pa.schema(list(types.items()))), file)
    return file.getvalue()


def _record(table: Table, entry: Entry) -> dict[str, Any]:
    row, group = entry.placed.row, table.group
    hard = entry.average.hard_negatives
    low, high = entry.interval or (None, None)
    success = entry.average.success
    average = (success.base, success.edited, success.delta, low, high, hard.delta if hard else None, entry.ratio)
    return {
        **{name: getattr(group, name) for name in TEXT if name in group._fields},
        "track": table.track,
        "league": table.league,
        "row": row.row_id,
        "method": row.method,
        "model": row.model.name,
        "base": row.base.name if row.base else None,
        "submission": row.submission,
        "state": row.state,
        "flags": ",".join(flag.name for flag in row.flags) or None,
        "source": row.provenance.source,
        "note": entry.note,
        "rank": entry.rank,
        **_named("average", AVERAGE, average),
        **{name: value for task in TASKS for name, value in _task(task, entry.tasks[task]).items()},
    }


def _task(name: str, result: TaskResult) -> dict[str, float | None]:
    low, high = result.success.ci or (None, None)
    hard = result.hard_negatives.delta if result.hard_negatives else None
    error, ratio = (result.standard_error, result.ratio) if isinstance(result, LeagueTask) else (None, None)
    success = result.success
    return _named(name, OF_TASK, (success.base, success.edited, success.delta, low, high, error, hard, ratio))


def _named(prefix: str, names: Iterable[str], values: Iterable[float | None]) -> dict[str, float | None]:
    return {f"{prefix}_{name}": value for name, value in zip(names, values, strict=True)}


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(FORMULA) else text
