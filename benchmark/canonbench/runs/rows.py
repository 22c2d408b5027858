"""Build a run's row and the columns of its examples.parquet.

examples.parquet holds the log-probabilities and loss of every example, for the base and the edited model; every
number in the row is computed from it.
"""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from canonbench._version import __version__
from canonbench.models import Fingerprint, LoadedModel, Source
from canonbench.results import (
    Fingerprints,
    GeneralText,
    ModelReference,
    Provenance,
    Row,
    SuiteReference,
    TaskSpec,
    aggregate,
    aggregate_edits,
)
from canonbench.runs.requests import Measured, RequestBatch, TaskRows
from canonbench.runs.spec import EvalSpec
from canonbench.scoring import task_loss

Choices = Mapping[str, Mapping[str, Mapping[int, int]]]
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")


class Described(NamedTuple):
    """The facts about a model that go into a row; the model itself may already be freed."""

    source: Source
    dtype: str
    device: torch.device
    fingerprint: str

    @staticmethod
    def of(loaded: LoadedModel, fingerprint: Fingerprint) -> Described:
        """Collect the facts about a model in memory."""
        return Described(loaded.source, loaded.dtype, loaded.device, fingerprint.key)

    @property
    def reference(self) -> ModelReference:
        """The model's name, as in rows."""
        return reference(self.source)


def reference(source: Source) -> ModelReference:
    """Return the name of a model, as in rows."""
    return ModelReference(name=source.name, source=source.kind, revision=source.revision)


def build_row(
    asked: EvalSpec,
    examples: Mapping[str, Any],
    model: Described,
    base: ModelReference | None,
    base_fingerprint: str | None,
    seconds: float,
) -> Row:
    """Build the row of a fixed checkpoint; ``leaderboard.aggregate`` computes every number from ``examples``."""
    computed = aggregate(examples, tasks=task_specs(asked), protocol=asked.protocol, general=general_text(asked))
    return Row(
        **_facts(asked, model, seconds),
        track="joint" if len(asked.tasks) > 1 else "per-task",
        base=base,
        method=None,
        hyperparameters=None,
        fingerprints=Fingerprints(model=model.fingerprint, base=base_fingerprint),
        general=computed.general,
        tasks=computed.tasks,
        average=computed.average,
        leagues=None,
    )


def build_edit_row(
    asked: EvalSpec,
    examples: Mapping[str, Any],
    base: Described,
    method: tuple[str, Mapping[str, Any]],
    choices: Choices,
    reported: Mapping[str, Mapping[str, int]],
    seconds: float,
) -> Row:
    """Build the row of an edit run; ``leaderboard.aggregate_edits`` computes every number from ``examples``.

    Args:
        asked: the data and the rules.
        examples: the columns of examples.parquet.
        base: the model that was edited.
        method: the method's name and hyperparameters.
        choices: the candidate taken, by league, task and seed.
        reported: the candidate chosen on val, by league and task.
        seconds: time spent on training and scoring.
    """
    general = general_text(asked)
    assert general is not None
    computed = aggregate_edits(
        examples,
        tasks=task_specs(asked),
        protocol=asked.protocol,
        general=general,
        choices=choices,
        reported=reported,
    )
    return Row(
        **_facts(asked, base, seconds),
        track="per-task",
        base=base.reference,
        method=method[0],
        hyperparameters=dict(method[1]),
        fingerprints=Fingerprints(model=None, base=base.fingerprint),
        general=computed.general,
        tasks=None,
        average=None,
        leagues=computed.leagues,
    )


def _facts(asked: EvalSpec, model: Described, seconds: float) -> dict[str, Any]:
    """Return the fields that every measured row has in common."""
    return {
        "schema": 3,
        "state": "measured",
        "provenance": Provenance(source=f"canonbench {__version__}", note=None),
        "submission": None,
        "flags": (),
        "examples": None,
        "protocol": asked.protocol.name,
        "suite": SuiteReference(
            name=asked.suite.name, version=asked.suite.spec.version, data_hash=asked.suite.data_hash(asked.split)
        ),
        "split": asked.split,
        "limit": asked.limit,
        "model": model.reference,
        "dtype": model.dtype,
        "device": str(model.device),
        "versions": versions(),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory(model.device),
    }


def task_specs(asked: EvalSpec) -> dict[str, TaskSpec]:
    """Return the loss and threshold of every task of the run."""
    tasks = [asked.suite.task(name).task for name in asked.tasks]
    return {task.name: TaskSpec(task.loss, task.threshold) for task in tasks}


def general_text(asked: EvalSpec) -> GeneralText | None:
    """Return the name and content hash of the run's general text; None without one."""
    if asked.general is None:
        return None
    return GeneralText(asked.general.name, asked.general.data_hash(asked.general_part))


def peak_memory(device: torch.device) -> int:
    """Return peak memory in bytes: of the GPU if the model is on one, else resident memory of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Return the versions of everything that the numbers may depend on."""
    return {
        "python": platform.python_version(),
        "canonbench": __version__,
        **{name: version(name) for name in LIBRARIES},
    }


Column = npt.NDArray[Any]
Columns = dict[str, Column]


def task_columns(rows: TaskRows, unit: RequestBatch, edited: Measured, base: Measured | None) -> list[Columns]:
    """Build the columns of one task: a block for its evaluation rows and one for its hard negatives."""
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


def general_columns(unit: RequestBatch, edited: Measured, base: Measured | None, again: Measured | None) -> Columns:
    """Build the columns of general text: one row per chunk, whose loss is the summed NLL.

    Args:
        again: the base's second scores of the first chunks, batched differently, for the noise floor.
    """
    n = len(unit.requests)
    table = {"subject": [""] * n, "clean": [True] * n}
    columns = _block("", "general", table, {"a": np.arange(n), "b": None}, unit, edited, base, "nll")
    if again is not None:
        columns["base_again_log_p_a"][: len(again.sums)] = again.sums
    return columns


def _block(
    task: str,
    part: str,
    table: Any,
    places: dict[str, npt.NDArray[np.int64] | None],
    unit: RequestBatch,
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
