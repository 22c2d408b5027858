"""Read and write the rows of the board, ``leaderboard/rows/*.jsonl``, which are its only source of truth.

The file also generates the published JSON Schema of a row, ``datasets/row.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError
from canonbench.files import write_whole
from canonbench.records import read_jsonl, validated
from canonbench.results.row import Row


class PlacedRow(NamedTuple):
    """A row and its place in the files."""

    place: str
    """File name and line, counted from 1: hewitt2024.jsonl:3."""
    row: Row


def read_rows(folder: str | Path) -> list[PlacedRow]:
    """Read all rows of ``*.jsonl`` in the folder, sorted by file name and line.

    Raises:
        CanonbenchError: the folder or a file cannot be read, a line is not a row, or a row occurs twice; in one line
            that names the place.
    """
    root = Path(folder)
    if not root.is_dir():
        raise CanonbenchError(f"{root}: no such folder of rows")
    placed = [each for path in sorted(root.glob("*.jsonl")) for each in read_rows_file(path)]
    seen: dict[str, str] = {}
    for place, row in placed:
        if row.row_id in seen:
            raise CanonbenchError(f"{root / place}: the same row as {seen[row.row_id]}")
        seen[row.row_id] = place
    return placed


def read_rows_file(path: Path) -> list[PlacedRow]:
    """Read the rows of one file; CanonbenchError as in ``read_rows``."""
    return [
        PlacedRow(f"{path.name}:{number}", validated(Row, content, f"{path}:{number}"))
        for number, content in enumerate(read_jsonl(path), start=1)
    ]


def write_rows_file(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows to ``path`` atomically, one per line; CanonbenchError if that fails."""
    write_whole(path, "".join(row.to_line() + "\n" for row in rows))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``row.json``.

    It describes each field; consistency between fields (say, a row with a base must be complete) only ``Row`` checks.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Row.model_json_schema(by_alias=True)}


def schema_text() -> str:
    """The schema as the text of ``datasets/row.schema.json``."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
