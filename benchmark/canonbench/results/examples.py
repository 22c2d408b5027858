"""Read and write ``examples.parquet``: check its columns and split them into one block per task, part and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError
from canonbench.scoring import LOSSES, require_finite, task_loss

if TYPE_CHECKING:
    import pyarrow


NEVER_EMPTY = ("task", "part", "index", "clean", "n_tokens_a", "seed", "candidate")
TOLERANCE = 1e-9
"""Tolerance in nats between a stored loss and the one recomputed from the stored log-probabilities."""
COLUMNS = {
    "task": "string",  # "" for general text
    "part": "string",  # evaluation, hard_negatives or general
    "index": "int64",  # index of the row within its task and part
    "subject": "string",  # the row's cluster; empty or null = a cluster of its own
    "clean": "bool",
    "n_tokens_a": "int64",  # scored tokens
    "base_log_p_a": "float64",  # log-probabilities are sums over tokens, nats; null if absent
    "base_log_p_b": "float64",
    "edited_log_p_a": "float64",
    "edited_log_p_b": "float64",
    "base_loss": "float64",  # the task's loss; −log p for hard negatives and general text
    "edited_loss": "float64",
    "base_again_log_p_a": "float64",  # the base's second measurement, on (some) chunks of general text
}
"""The required columns and their Arrow types; further columns are allowed."""
EDIT_COLUMNS = {**COLUMNS, "seed": "int64", "candidate": "int64"}
"""The columns of an edit run: ``edited_*`` are that seed's and candidate's scores; 0 is the unedited model."""
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Block:
    """The rows of one task and part, scored by one model, sorted by index; all arrays have shape (n,)."""

    index: NDArray[np.int64]
    clusters: list[str]
    """(n,) subject of each row."""
    clean: NDArray[np.bool_]
    n_tokens: NDArray[np.int64]
    edited: NDArray[np.float64]
    """Losses, nats."""
    edited_log_p: tuple[NDArray[np.float64], ...]
    """Log-probabilities of the one or two continuations, nats."""
    base: NDArray[np.float64] | None
    """Losses, nats; None without a base."""
    base_again: NDArray[np.float64]
    """Losses of the base's second measurement; NaN for rows measured only once."""

    @property
    def n_clusters(self) -> int:
        """Number of different subjects."""
        return len(set(self.clusters))


Blocks = dict[tuple[str, str], Block]
"""Blocks by (task, part)."""
EditBlocks = dict[tuple[str, str, int, int], Block]
"""Blocks by (task, part, seed, candidate)."""
Taken = Mapping[int, int]
"""Seed to the candidate taken for it; 0 is the unedited model, whose rows have seed 0."""


def read_blocks(examples: Mapping[str, Any] | pyarrow.Table, losses: Mapping[str, str]) -> Blocks:
    """Split a fixed checkpoint's examples into blocks by (task, part); (``""``, ``"general"``) is general text.

    Args:
        examples: a table, or a mapping of columns in which NaN means null.
        losses: task name to loss name, for every task that may occur.

    Raises:
        CanonbenchError: a column is missing or has the wrong type; a task or part is unknown; a row is duplicated; a
            log-probability is missing, NaN or infinite; or a stored loss does not follow from its log-probabilities.
    """
    columns = _numpy_columns(examples, COLUMNS)
    has_base = bool((~np.isnan(columns["base_log_p_a"])).any())
    blocks: Blocks = {}
    for (task, part), rows in _groups(columns, ("task", "part")):
        expected = part == "general" if task == "" else task in losses and part in ("evaluation", "hard_negatives")
        if not expected:
            raise CanonbenchError(f"examples: unexpected rows of task {task!r}, part {part!r}")
        blocks[task, part] = _block(rows, f"{task} {part}".strip(), _loss(losses, task, part), has_base)
    return blocks


def read_edit_blocks(examples: Mapping[str, Any] | pyarrow.Table, losses: Mapping[str, str]) -> EditBlocks:
    """Split an edit run's examples into blocks by (task, part, seed, candidate).

    General text is stored under each task, because each candidate has its own general losses.

    Raises:
        CanonbenchError: as ``read_blocks``; or a base's log-probability is missing.
    """
    columns = _numpy_columns(examples, EDIT_COLUMNS)
    blocks: EditBlocks = {}
    for (task, part, seed, candidate), rows in _groups(columns, ("task", "part", "seed", "candidate")):
        if task not in losses or part not in ("evaluation", "hard_negatives", "general"):
            raise CanonbenchError(f"examples: unexpected rows of task {task!r}, part {part!r}")
        what = f"{task} {part}, seed {seed}, candidate {candidate}"
        blocks[task, part, seed, candidate] = _block(rows, what, _loss(losses, task, part), has_base=True)
    return blocks


def taken_blocks(blocks: EditBlocks, task: str, part: str, taken: Taken) -> list[Block]:
    """Return the blocks of the candidates taken, by seed; CanonbenchError if one is missing."""
    found = []
    for seed, candidate in sorted(taken.items()):
        key = (task, part, seed, candidate) if candidate else (task, part, 0, 0)
        if key not in blocks:
            raise CanonbenchError(f"examples: no {part} rows of task {task!r}, seed {key[2]}, candidate {candidate}")
        found.append(blocks[key])
    return found


def unchanged(before: Sequence[Block], after: Sequence[Block]) -> bool:
    """Whether no loss differs in any repetition; such a zero difference is exact and has no interval."""
    return len(before) == len(after) and all(
        np.array_equal(one.edited, other.edited) for one, other in zip(before, after, strict=True)
    )


def is_base(blocks: Sequence[Block]) -> bool:
    """Whether every repetition scores exactly like its base on these rows: no loss differs."""
    return all(block.base is not None and np.array_equal(block.edited, block.base) for block in blocks)


def _loss(losses: Mapping[str, str], task: str, part: str) -> str:
    return losses[task] if part == "evaluation" else "nll"


def _groups(columns: Columns, by: tuple[str, ...]) -> Iterator[tuple[tuple[Any, ...], Columns]]:
    """Group rows by the columns ``by``: groups in sorted order, the rows of each sorted by index."""
    rows_of: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(*(columns[name].tolist() for name in by), strict=True)):
        rows_of[key].append(row)
    for key in sorted(rows_of):
        rows = np.array(rows_of[key])
        rows = rows[np.argsort(columns["index"][rows], kind="stable")]
        yield key, {name: values[rows] for name, values in columns.items()}


def _numpy_columns(examples: Mapping[str, Any] | pyarrow.Table, wanted: Mapping[str, str]) -> Columns:
    import pyarrow as pa  # noqa: PLC0415  (importing canonbench.results must stay quick)

    names = examples.column_names if isinstance(examples, pa.Table) else list(examples)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise CanonbenchError(f"examples: missing column {', '.join(missing)}")
    try:
        if not isinstance(examples, pa.Table):
            examples = pa.table({name: pa.array(examples[name], from_pandas=True) for name in wanted})
        table = examples.select(list(wanted)).cast(pa.schema(list(wanted.items())))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise CanonbenchError(f"examples: a column has another type: {' '.join(str(error).split())}") from error
    for name in wanted:
        if name in NEVER_EMPTY and table.column(name).null_count:
            raise CanonbenchError(f"examples: column {name} has empty cells")
    return {name: table.column(name).to_numpy() for name in wanted}


def _block(columns: Columns, what: str, loss: str, has_base: bool) -> Block:
    index = columns["index"]
    repeated = index[:-1][index[1:] == index[:-1]]
    if repeated.size:
        raise CanonbenchError(f"{what}: row {repeated[0]} stands twice")
    clusters = [subject or f"row {row}" for subject, row in zip(columns["subject"], index, strict=True)]
    return Block(
        index,
        clusters,
        columns["clean"].astype(bool),
        columns["n_tokens_a"],
        _losses(columns, "edited", what, loss),
        tuple(columns[f"edited_log_p_{side}"] for side in _sides(loss)),
        _losses(columns, "base", what, loss) if has_base else None,
        -columns["base_again_log_p_a"],
    )


def _sides(loss: str) -> str:
    return "ab"[: LOSSES[loss].arity]


def _losses(columns: Columns, model: str, what: str, loss: str) -> NDArray[np.float64]:
    log_p = [
        require_finite(columns[f"{model}_log_p_{side}"], f"{what}: {model} log p_{side}", columns["index"])
        for side in _sides(loss)
    ]
    computed = task_loss(loss, *log_p)
    stored = columns[f"{model}_loss"]
    wrong = np.flatnonzero(~(np.abs(stored - computed) <= TOLERANCE))
    if wrong.size:
        row, has, gives = (values[wrong[0]] for values in (columns["index"], stored, computed))
        raise CanonbenchError(f"{what}: row {row} has {model}_loss {has}, but its log-probabilities give {gives}")
    return computed


def concatenate(blocks: list[Columns]) -> Columns:
    """Concatenate the blocks into one table."""
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def write_parquet(columns: Columns, path: Path) -> None:
    """Write the table; absent values (no base, no second continuation) become nulls."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    pq.write_table(
        pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()}),
        path,
        compression="zstd",
    )


def read_parquet(path: Path) -> Columns:
    """Read what ``write_parquet`` wrote; nulls in numeric columns become NaN."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    table = pq.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}
