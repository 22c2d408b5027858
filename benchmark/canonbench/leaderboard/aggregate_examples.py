"""The columns of ``examples.parquet``, checked and cut into one block per task and part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from canonbench.errors import CanonbenchError
from canonbench.scoring import LOSSES, require_finite, task_loss

if TYPE_CHECKING:
    import pyarrow

TOLERANCE = 1e-9
"""Nats by which a stored loss may differ from the one recomputed from the stored log-probabilities."""

COLUMNS = {
    "task": "string",  # "" for general text
    "part": "string",  # evaluation, hard_negatives or general
    "index": "int64",  # of the row within its task and part
    "subject": "string",  # the row's cluster; empty or null = a cluster of its own
    "clean": "bool",
    "n_tokens_a": "int64",  # scored tokens
    "base_log_p_a": "float64",  # log-probabilities are sums over tokens, nats; null where there is none
    "base_log_p_b": "float64",
    "edited_log_p_a": "float64",
    "edited_log_p_b": "float64",
    "base_loss": "float64",  # the task's loss; −log p for hard negatives and general text
    "edited_loss": "float64",
    "base_again_log_p_a": "float64",  # the base's second measurement, on (some) chunks of general text
}
"""The columns that numbers are computed from, and their Arrow types; others may stand beside them."""


@dataclass(frozen=True)
class Block:
    """The rows of one task and part in the order of their index; all arrays (n,)."""

    what: str
    """For messages, e.g. ``country evaluation``."""
    clusters: list[str]
    """(n,) the subject of each row."""
    clean: NDArray[np.bool_]
    n_tokens: NDArray[np.int64]
    edited: NDArray[np.float64]
    """Losses, nats."""
    base: NDArray[np.float64] | None
    """Losses, nats; None without a base."""
    base_again: NDArray[np.float64]
    """Losses of the second measurement; NaN where there was none."""

    @property
    def n_clusters(self) -> int:
        """How many different subjects."""
        return len(set(self.clusters))


Blocks = dict[tuple[str, str], Block]


def read_blocks(examples: Mapping[str, Any] | pyarrow.Table, losses: Mapping[str, str]) -> Blocks:
    """Cut the examples into blocks by (task, part); (``""``, ``"general"``) is general text.

    Args:
        examples: a table, or a mapping of columns in which NaN stands for null.
        losses: task name to loss name, for every task that may occur.

    Raises:
        CanonbenchError: a column is missing or of another type; a task or part is unknown; a row stands twice; a
            log-probability is missing, NaN or infinite; or a stored loss is not what its log-probabilities give.
    """
    columns = _numpy_columns(examples)
    has_base = bool((~np.isnan(columns["base_log_p_a"])).any())
    blocks: Blocks = {}
    for task, part in sorted(set(zip(columns["task"], columns["part"], strict=True))):
        expected = part == "general" if task == "" else task in losses and part in ("evaluation", "hard_negatives")
        if not expected:
            raise CanonbenchError(f"examples: unexpected rows of task {task!r}, part {part!r}")
        rows = np.flatnonzero((columns["task"] == task) & (columns["part"] == part))
        rows = rows[np.argsort(columns["index"][rows], kind="stable")]
        chosen = {name: values[rows] for name, values in columns.items()}
        loss = losses[task] if part == "evaluation" else "nll"
        blocks[task, part] = _block(chosen, f"{task} {part}".strip(), loss, has_base)
    return blocks


def _numpy_columns(examples: Mapping[str, Any] | pyarrow.Table) -> dict[str, NDArray[Any]]:
    import pyarrow as pa  # noqa: PLC0415  (importing canonbench.leaderboard must stay quick)

    names = examples.column_names if isinstance(examples, pa.Table) else list(examples)
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise CanonbenchError(f"examples: missing column {', '.join(missing)}")
    try:
        if not isinstance(examples, pa.Table):
            examples = pa.table({name: pa.array(examples[name], from_pandas=True) for name in COLUMNS})
        table = examples.select(list(COLUMNS)).cast(pa.schema(list(COLUMNS.items())))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise CanonbenchError(f"examples: a column has another type: {' '.join(str(error).split())}") from error
    for name in ("task", "part", "index", "clean", "n_tokens_a"):
        if table.column(name).null_count:
            raise CanonbenchError(f"examples: column {name} has empty cells")
    return {name: table.column(name).to_numpy() for name in COLUMNS}


def _block(columns: Mapping[str, NDArray[Any]], what: str, loss: str, has_base: bool) -> Block:
    index = columns["index"]
    repeated = index[:-1][index[1:] == index[:-1]]
    if repeated.size:
        raise CanonbenchError(f"{what}: row {repeated[0]} stands twice")
    clusters = [subject or f"row {row}" for subject, row in zip(columns["subject"], index, strict=True)]
    return Block(
        what,
        clusters,
        columns["clean"].astype(bool),
        columns["n_tokens_a"],
        _losses(columns, "edited", what, loss),
        _losses(columns, "base", what, loss) if has_base else None,
        -columns["base_again_log_p_a"],
    )


def _losses(columns: Mapping[str, NDArray[Any]], model: str, what: str, loss: str) -> NDArray[np.float64]:
    sides = "ab"[: LOSSES[loss].arity]
    log_p = [
        require_finite(columns[f"{model}_log_p_{side}"], f"{what}: {model} log p_{side}", columns["index"])
        for side in sides
    ]
    computed = task_loss(loss, *log_p)
    stored = columns[f"{model}_loss"]
    wrong = np.flatnonzero(~(np.abs(stored - computed) <= TOLERANCE))
    if wrong.size:
        row, has, gives = (values[wrong[0]] for values in (columns["index"], stored, computed))
        raise CanonbenchError(f"{what}: row {row} has {model}_loss {has}, but its log-probabilities give {gives}")
    return computed
