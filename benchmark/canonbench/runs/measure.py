"""Score a model on units of requests, through a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import SCORER_VERSION, plan, score
from canonbench.models.fingerprint import Fingerprint
from canonbench.runs.progress import Progress
from canonbench.runs.questions import Unit
from canonbench.runs.store import Journal, Store, content_key


@dataclass(frozen=True)
class Subject:
    """A model under measurement: what it is, not what it is called."""

    model: Any
    fingerprint: Fingerprint

    def key(self, unit: Unit, batch_tokens: int | None) -> str:
        """All that the scores of ``unit`` depend on."""
        return content_key(
            self.fingerprint.key, unit.digest, SCORER_VERSION, torch.__version__, transformers.__version__,
            self.model.dtype, self.model.device.type, batch_tokens,
        )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A unit's log-likelihoods."""

    sums: npt.NDArray[np.float64]
    """(requests,) nats."""
    seconds: float


def measure(
    subject: Subject, units: Sequence[Unit], store: Store, progress: Progress, *, batch_tokens: int | None, label: str
) -> dict[str, Measured]:
    """Score every unit, skipping what the store already holds.

    Args:
        label: ``base`` or ``edited``, for the progress display.

    Raises:
        CanonbenchError: a sequence does not fit the model, a logit is not finite, or the disk is full.
    """
    results = {}
    for unit in units:
        with store.journal(subject.key(unit, batch_tokens)) as journal:
            _fill(journal, subject.model, unit, progress, batch_tokens, f"{label} {unit.name}")
            results[unit.name] = Measured(journal.array(len(unit.requests)), journal.seconds)
    return results


def _fill(journal: Journal, model: Any, unit: Unit, progress: Progress, batch_tokens: int | None, what: str) -> None:
    for pack in plan(model, unit.requests, batch_tokens=batch_tokens, origins=unit.origins):
        asked = sum(len(unit.requests[request].ids) for request in pack.requests)
        if not all(request in journal.sums for request in pack.requests):
            start = time.perf_counter()
            try:
                found = {index: float(values.sum()) for index, values in score(model, pack, unit.origins)}
            except CanonbenchError as error:
                raise CanonbenchError(f"{error} ({what})") from error
            journal.append(found, time.perf_counter() - start)
        progress.advance(asked, what)
