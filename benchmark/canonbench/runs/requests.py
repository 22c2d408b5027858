"""The requests that a run scores, per task and for general text, and the log-likelihoods that come back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from canonbench.errors import CanonbenchError
from canonbench.likelihood import Encoder, Request
from canonbench.scoring import LOSSES, Protocol
from canonbench.suite import General, GeneralPart, Suite, Task


@dataclass(frozen=True)
class Measured:
    """The log-likelihoods of one unit."""

    sums: npt.NDArray[np.float64]
    """(requests,) log-likelihoods in nats."""
    seconds: float
    tokens: Mapping[int, npt.NDArray[np.float64]] | None = None
    """Per request, the log-likelihoods of its scored tokens (nats); kept only for bases whose edits may reuse them."""


NOISE_CHUNKS = 256
"""Chunks of G that the base is scored on twice. Rounding errors of fewer chunks cancel less, so the
estimated noise floor is, if anything, too high."""


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task to score, as tables with the columns of ``suite.rows.COLUMNS``."""

    task: Task
    evaluation: Any
    hard_negatives: Any

    @property
    def is_pair(self) -> bool:
        """Whether the task's loss compares two continuations."""
        return LOSSES[self.task.loss].arity > 1


@dataclass(frozen=True)
class RequestBatch:
    """A block of requests that is planned, scored and stored as a whole."""

    name: str
    """The task's name, or ``general``."""
    requests: list[Request]
    origins: list[str]

    @property
    def digest(self) -> str:
        """SHA-256 over all token ids and start positions: identifies the requests independently of their texts."""
        hasher = hashlib.sha256()
        for ids, start in self.requests:
            hasher.update(np.asarray([len(ids), start, *ids], dtype=np.int64).tobytes())
        return hasher.hexdigest()

    @property
    def n_tokens(self) -> int:
        """Total number of tokens in the requests, as given."""
        return sum(len(ids) for ids, _ in self.requests)

    @property
    def n_scored(self) -> npt.NDArray[np.int64]:
        """(requests,) number of scored tokens in each."""
        return np.asarray([len(ids) - start for ids, start in self.requests], dtype=np.int64)


def question(suite: Suite, name: str, split: str, protocol: Protocol, limit: int | None) -> TaskRows:
    """Read the evaluation rows and hard negatives of a task; ``limit`` keeps only the first ones of each.

    Raises:
        CanonbenchError: a file has no rows.
    """
    task = suite.task(name)
    own = task.split(split)
    other = own if protocol.hard_negatives == "own" else task.split("val")
    evaluation = _first(own.evaluation, limit, own.path("evaluation"))
    return TaskRows(task.task, evaluation, _first(other.hard_negatives, limit, other.path("hard_negatives")))


def task_unit(rows: TaskRows, encoder: Encoder) -> RequestBatch:
    """Build a task's requests: E with its first continuation, E with its second if the loss is a pair, then H."""
    blocks = [(rows.evaluation, "suffix_a")]
    if rows.is_pair:
        blocks.append((rows.evaluation, "suffix_b"))
    blocks.append((rows.hard_negatives, "suffix_a"))
    pairs = [pair for table, suffix in blocks for pair in zip(table["prefix"], table[suffix], strict=True)]
    origins = [origin for table, _ in blocks for origin in table["origin"]]
    return RequestBatch(rows.task.name, encoder.pairs(pairs, origins), origins)


def general_unit(general: General, part: GeneralPart, limit: int | None, encoder: Encoder) -> RequestBatch:
    """Build the requests for the chunks of one part of general text."""
    table = _first(general.texts(part), limit, general.root / general.files(part)[0].path)
    return RequestBatch("general", encoder.texts(list(table["text"]), list(table["origin"])), list(table["origin"]))


def noise_unit(units: Sequence[RequestBatch]) -> list[RequestBatch]:
    """Return the chunks of G that the base is scored on again in different batches; empty without general text."""
    found = [unit for unit in units if unit.name == "general"]
    return [RequestBatch("noise", unit.requests[:NOISE_CHUNKS], unit.origins[:NOISE_CHUNKS]) for unit in found]


def require_same(edited: list[RequestBatch], base: list[RequestBatch]) -> None:
    """Check that base and edited model get the same token ids.

    Raises:
        CanonbenchError: their tokenizers disagree; the message names the first differing row.
    """
    for one, other in zip(edited, base, strict=True):
        for place, (asked, also) in enumerate(zip(one.requests, other.requests, strict=True)):
            if asked != also:
                raise CanonbenchError(
                    f"vocabulary mismatch: base and edited model tokenise {one.origins[place]} differently, so their "
                    "scores cannot be compared; give the edited checkpoint its base's tokenizer"
                )


def _first(table: Any, limit: int | None, path: Any) -> Any:
    if not len(table):
        raise CanonbenchError(f"{path}: no rows to score")
    return table if limit is None else table.select(range(min(limit, len(table))))
