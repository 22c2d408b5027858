"""Prepare the models of an evaluation: load, fingerprint, tokenise, and check that they can be scored and compared.

Only one model is in memory at a time, the base first and then the edited one. ``run_identity`` collects everything
that a row's numbers depend on; a run folder belongs to one identity.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonbench.cache import content_key
from canonbench.errors import CanonbenchError, UsageError
from canonbench.likelihood import SCORER_VERSION, Encoder, check_lengths
from canonbench.model_names import is_ensemble
from canonbench.models import (
    Fingerprint,
    LoadedModel,
    Loading,
    base_name,
    context_length,
    fingerprint,
    in_memory,
    load_model,
    readable_ids,
    require_unchanged,
    vocabulary_size,
)
from canonbench.runs.requests import RequestBatch, TaskRows, general_unit, require_same, task_unit
from canonbench.runs.spec import EvalSpec

ModelLike = str | Path | Any
"""A name for ``load_model``, or a model in memory."""


@dataclass(frozen=True)
class ModelHandle:
    """A way to load one of the two models, as often as needed."""

    model: ModelLike
    tokenizer: Any
    how: Loading
    base: str | Path | None = None
    """For an adapter: the base to apply it to."""

    @property
    def is_name(self) -> bool:
        """Whether the model is loaded from a name, so that it can be freed and loaded again."""
        return isinstance(self.model, str | Path)

    def open(self) -> LoadedModel:
        """Load the model, or wrap the one in memory."""
        if self.is_name:
            return load_model(self.model, self.how, base=self.base)
        return in_memory(
            self.model, self.tokenizer, getattr(self.model, "name_or_path", "") or type(self.model).__name__
        )

    def open_again(self, mark: Fingerprint) -> LoadedModel:
        """Load the model again. CanonbenchError if it no longer matches the fingerprint ``mark``."""
        loaded = self.open()
        require_unchanged(loaded, mark)
        return loaded


def model_handles(
    model: ModelLike, base: ModelLike | None, tokenizer: Any, how: Loading
) -> tuple[ModelHandle, ModelHandle | None]:
    """Return handles of the edited model and its base. An adapter names its own base unless ``base`` is given.

    The base of an ensemble is its large model; ``base`` is then the base of its small edit.

    Raises:
        UsageError: a model in memory without a tokenizer.
    """
    for each in (model, base):
        if each is not None and not isinstance(each, str | Path) and tokenizer is None:
            raise UsageError("a model in memory needs its tokenizer: evaluate(model, tokenizer=tokenizer, ...)")
    named_base = base if isinstance(base, str | Path) else None
    if is_ensemble(model) or (base is None and isinstance(model, str | Path)):
        base = base_name(model, how)
    edited = ModelHandle(model, tokenizer, how, base=named_base)
    return edited, None if base is None else ModelHandle(base, tokenizer, how)


def free(loaded: LoadedModel) -> None:
    """Free a model's memory before the next one is loaded."""
    loaded.model = None
    gc.collect()


@dataclass(frozen=True)
class Prepared:
    """The facts about a checked model; they stay valid after the model is freed."""

    loaded: LoadedModel
    fingerprint: Fingerprint
    units: list[RequestBatch]
    vocabulary: int
    dtype: str
    device: str


def prepare(opener: ModelHandle, asked: EvalSpec, questions: Sequence[TaskRows]) -> Prepared:
    """Load a model, take its fingerprint, tokenise all requests and check that they fit.

    Raises:
        CanonbenchError: the model cannot be loaded or scored, or a text is too long for it; the message names it.
    """
    loaded = opener.open()
    encoder = Encoder.of(loaded.tokenizer)
    units = [task_unit(rows, encoder) for rows in questions]
    if asked.general is not None:
        units.append(general_unit(asked.general, asked.general_part, asked.limit, encoder))
    context, readable = context_length(loaded.model), readable_ids(loaded.model)
    with _about(loaded):
        for unit in units:
            check_lengths(unit.requests, unit.origins, context=context, vocabulary=readable)
        weights = fingerprint(loaded.model)
    vocabulary = vocabulary_size(loaded.model)
    return Prepared(loaded, weights, units, vocabulary=vocabulary, dtype=loaded.dtype, device=loaded.device.type)


def require_comparable(edited: Prepared, base: Prepared) -> None:
    """Check that base and edited model share vocabulary and tokenisation, and differ in weights.

    Raises:
        CanonbenchError: they do not; the message says what to do.
    """
    if edited.vocabulary != base.vocabulary:
        raise CanonbenchError(
            f"vocabulary mismatch: the edited model has {edited.vocabulary} output rows, the base {base.vocabulary}; "
            "their losses cannot be compared"
        )
    if edited.fingerprint.key == base.fingerprint.key:
        adapter = edited.loaded.source.kind == "peft"
        what = "the adapter changes nothing" if adapter else "base and edited model are the same"
        raise CanonbenchError(f"{what} (fingerprint {edited.fingerprint.weights[:12]}): there is no edit to evaluate")
    require_same(edited.units, base.units)


@contextmanager
def _about(loaded: LoadedModel) -> Iterator[None]:
    """Add the model's name to errors raised inside, since a run has two models."""
    try:
        yield
    except CanonbenchError as error:
        raise type(error)(f"{error} (model {loaded.source.name})") from error


def run_identity(
    asked: EvalSpec, seen: Prepared, batch_tokens: int | None, *, named: Mapping[str, Any], hashed: Mapping[str, Any]
) -> dict[str, Any]:
    """Build a run's identity: names first, then content hashes, since errors report the first difference.

    Args:
        asked: the data and the rules.
        seen: the model to score.
        batch_tokens: tokens per forward pass.
        named: further entries of the command that users know by name.
        hashed: further entries that are identified by content.
    """
    return {
        **named,
        "suite": asked.suite.name,
        "tasks": asked.tasks,
        "split": asked.split,
        "general": asked.general.name if asked.general else None,
        "limit": asked.limit,
        "protocol": asked.protocol.name,
        "dtype": seen.dtype,
        "device": seen.device,
        "batch_tokens": batch_tokens,
        "scorer": SCORER_VERSION,
        **hashed,
        "suite_spec": content_key(asked.suite.spec.model_dump_json()),
        "data_hash": asked.suite.data_hash(asked.split),
        "token_ids": content_key(*(unit.digest for unit in seen.units)),
    }
