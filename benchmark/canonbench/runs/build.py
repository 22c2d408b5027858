"""From examples and the facts of a run to its row."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from canonbench._version import __version__
from canonbench.leaderboard import (
    Fingerprints,
    GeneralText,
    ModelReference,
    Provenance,
    Row,
    SuiteReference,
    TaskSpec,
    aggregate,
)
from canonbench.leaderboard.aggregate_edits import aggregate_edits
from canonbench.models.fingerprint import Fingerprint
from canonbench.models.load import LoadedModel
from canonbench.models.source import Source
from canonbench.runs.settings import Asked

Choices = Mapping[str, Mapping[str, Mapping[int, int]]]

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")


class Described(NamedTuple):
    """What a row says of a model, which need not be in memory any more."""

    source: Source
    dtype: str
    device: torch.device
    fingerprint: str

    @staticmethod
    def of(loaded: LoadedModel, fingerprint: Fingerprint) -> Described:
        """Of a model in memory."""
        return Described(loaded.source, loaded.dtype, loaded.device, fingerprint.key)

    @property
    def reference(self) -> ModelReference:
        """What it is called."""
        return reference(self.source)


def reference(source: Source) -> ModelReference:
    """A model by name."""
    return ModelReference(name=source.name, source=source.kind, revision=source.revision)


def build_row(
    asked: Asked,
    examples: Mapping[str, Any],
    model: Described,
    base: ModelReference | None,
    base_fingerprint: str | None,
    seconds: float,
) -> Row:
    """The row of a fixed checkpoint; every number is computed from ``examples`` by ``leaderboard.aggregate``."""
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
    asked: Asked,
    examples: Mapping[str, Any],
    base: Described,
    method: tuple[str, Mapping[str, Any]],
    choices: Choices,
    reported: Mapping[str, Mapping[str, int]],
    seconds: float,
) -> Row:
    """The row of an edit run; every number is computed from ``examples`` by ``leaderboard.aggregate_edits``.

    Args:
        asked: which data, by which rules.
        examples: the columns of examples.parquet.
        base: the model that was edited.
        method: its name and hyperparameters.
        choices: by league, task and seed, the candidate taken.
        reported: by league and task, the candidate chosen on val.
        seconds: spent on training and scoring.
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


def _facts(asked: Asked, model: Described, seconds: float) -> dict[str, Any]:
    """What every measured row says of the run."""
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


def task_specs(asked: Asked) -> dict[str, TaskSpec]:
    """Loss and threshold of every task of the run."""
    tasks = [asked.suite.task(name).task for name in asked.tasks]
    return {task.name: TaskSpec(task.loss, task.threshold) for task in tasks}


def general_text(asked: Asked) -> GeneralText | None:
    """The general text of the run, by name and content."""
    if asked.general is None:
        return None
    return GeneralText(asked.general.name, asked.general.data_hash(asked.general_part))


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of the GPU where the model is on one, else resident memory of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """Of all that numbers may depend on."""
    return {
        "python": platform.python_version(),
        "canonbench": __version__,
        **{name: version(name) for name in LIBRARIES},
    }
