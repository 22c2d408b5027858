"""Write and read the per-example values that a row on the board keeps, from which all its numbers can be recomputed.

Log-probabilities stay float64: a row states loss ratios with nine decimals, and float32 would change the seventh. Rows
are sorted so that the scores of one example by all candidates are adjacent; the base's value, which is the same in all
of them, then compresses to almost nothing. Indices and subjects identify an example; the file holds no text.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from canonbench.errors import CanonbenchError
from canonbench.files import write_whole
from canonbench.results.examples import COLUMNS, EDIT_COLUMNS
from canonbench.results.row import Row

if TYPE_CHECKING:
    import pyarrow


LIMIT = 8 * 2**20
"""Maximum bytes of an examples file in the repository; a larger one goes to the hub."""
LEVEL = 19
"""Level of zstd compression, high because a file is written once and read often."""


def compact(examples: pyarrow.Table, row: Row) -> pyarrow.Table:
    """Keep what the row's numbers are computed from; for an edit run, the unedited model and the candidates taken.

    Raises:
        CanonbenchError: a column is missing.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    wanted = COLUMNS if row.leagues is None else EDIT_COLUMNS
    missing = [name for name in wanted if name not in examples.column_names]
    if missing:
        raise CanonbenchError(f"examples: missing column {', '.join(missing)}")
    table = examples.select(list(wanted)).cast(pa.schema(list(wanted.items())))
    order = [(name, "ascending") for name in ("task", "part", "index")]
    if row.leagues is not None:
        taken = {(task, seed, candidate) for task, seed, candidate in _taken(row)}
        keys = zip(*(table.column(name).to_pylist() for name in ("task", "seed", "candidate")), strict=True)
        table = table.filter(pa.array([not key[2] or key in taken for key in keys]))
        order += [(name, "ascending") for name in ("seed", "candidate")]
    return table.sort_by(order)


def _taken(row: Row) -> set[tuple[str, int, int]]:
    """The (task, seed, candidate) of every candidate that at least one league took."""
    return {
        (name, each.seed, each.candidate)
        for league in (row.leagues or {}).values()
        for name, task in league.tasks.items()
        for each in task.seeds or ()
        if each.candidate
    }


def write_examples(table: pyarrow.Table, folder: Path) -> Path:
    """Write ``examples-<first 12 digits of its SHA-256>.parquet`` into the folder; CanonbenchError if that fails."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    floats = [field.name for field in table.schema if field.type == pa.float64()]
    others = [name for name in table.column_names if name not in floats]
    content = pa.BufferOutputStream()
    pq.write_table(
        table,
        content,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=others,
        use_byte_stream_split=floats,
    )
    data = content.getvalue().to_pybytes()
    path = folder / f"examples-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    write_whole(path, data)
    return path


def read_examples(path: Path) -> pyarrow.Table:
    """Read the table in ``path``; CanonbenchError, naming the file, if that fails."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise CanonbenchError(f"cannot read {path}: {' '.join(str(error).split())}") from error
