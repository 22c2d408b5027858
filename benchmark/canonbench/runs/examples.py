"""examples.parquet: every example's log-probabilities and loss, base and edited, from which every number follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from canonbench.runs.measured import Measured
from canonbench.runs.questions import Question, Unit
from canonbench.scoring import task_loss

Column = npt.NDArray[Any]
Columns = dict[str, Column]


def task_columns(rows: Question, unit: Unit, edited: Measured, base: Measured | None) -> list[Columns]:
    """The evaluation rows and hard negatives of one task as two blocks of columns."""
    n, n_hard = len(rows.evaluation), len(rows.hard_negatives)
    bounds = [n, 2 * n] if rows.is_pair else [n]
    blocks = np.split(np.arange(n * len(bounds) + n_hard), bounds)
    evaluation = {"a": blocks[0], "b": blocks[1] if rows.is_pair else None}
    hard = {"a": blocks[-1], "b": None}
    name, loss = rows.task.name, rows.task.loss
    return [
        _block(name, "evaluation", rows.evaluation, evaluation, unit, edited, base, loss),
        _block(name, "hard_negatives", rows.hard_negatives, hard, unit, edited, base, "nll"),
    ]


def general_columns(unit: Unit, edited: Measured, base: Measured | None, again: Measured | None) -> Columns:
    """General text: one row per chunk, its loss the chunk's summed NLL.

    Args:
        again: the base's second scores of the first so many chunks, batched differently: the noise floor.
    """
    n = len(unit.requests)
    table = {"subject": [""] * n, "clean": [True] * n}
    columns = _block("", "general", table, {"a": np.arange(n), "b": None}, unit, edited, base, "nll")
    if again is not None:
        columns["base_again_log_p_a"][: len(again.sums)] = again.sums
    return columns


def concatenate(blocks: list[Columns]) -> Columns:
    """One table of all blocks."""
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def write_parquet(columns: Columns, path: Path) -> None:
    """Write the table; absent values (no base, no second continuation) are nulls."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    pq.write_table(
        pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()}),
        path,
        compression="zstd",
    )


def read_parquet(path: Path) -> Columns:
    """What ``write_parquet`` wrote; nulls among numbers are NaN again."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    table = pq.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _block(
    task: str,
    part: str,
    table: Any,
    places: dict[str, npt.NDArray[np.int64] | None],
    unit: Unit,
    edited: Measured,
    base: Measured | None,
    loss: str,
) -> Columns:
    n = len(table["subject"])
    columns: Columns = {
        "task": np.full(n, task, dtype=object),
        "part": np.full(n, part, dtype=object),
        "index": np.arange(n),
        "subject": np.asarray(list(table["subject"]), dtype=object),
        "clean": np.asarray(list(table["clean"]), dtype=bool),
    }
    for side, where in places.items():
        columns[f"n_tokens_{side}"] = unit.n_scored[where] if where is not None else np.zeros(n, dtype=np.int64)
    columns["base_again_log_p_a"] = np.full(n, np.nan)
    for name, measured in (("base", base), ("edited", edited)):
        found = {
            side: measured.sums[where] if measured is not None and where is not None else np.full(n, np.nan)
            for side, where in places.items()
        }
        for side, sums in found.items():
            columns[f"{name}_log_p_{side}"] = sums
        second = found["b"] if places["b"] is not None else None
        columns[f"{name}_loss"] = task_loss(loss, found["a"], second) if measured is not None else np.full(n, np.nan)
    return columns
