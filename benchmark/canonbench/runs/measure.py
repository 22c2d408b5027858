"""Score a model on units of requests, with a store for finished scores; estimate the cost of an evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from canonbench.cache import Journal, Store, content_key
from canonbench.errors import CanonbenchError
from canonbench.likelihood import (
    SCORER_VERSION,
    Estimate,
    Pack,
    Reuse,
    States,
    auto_batch_tokens,
    estimate,
    keeps_tokens,
    plan,
    score,
)
from canonbench.models import Fingerprint, Loading, Trust
from canonbench.runs.prepare import ModelLike, Prepared, free, model_handles, prepare, require_comparable
from canonbench.runs.progress import Progress
from canonbench.runs.requests import Measured, RequestBatch, noise_unit, question
from canonbench.runs.spec import announce, require_batch_tokens, resolve
from canonbench.suite import Suite

NOTHING = Reuse()
"""Reuse nothing from the base: score everything in full."""


@dataclass(frozen=True)
class ScoredModel:
    """A model to score, identified by its fingerprint and not by its name."""

    model: Any
    fingerprint: Fingerprint

    def key(self, unit: RequestBatch, batch_tokens: int | None) -> str:
        """Return the store key: everything the scores of ``unit`` depend on."""
        return content_key(
            self.fingerprint.key, unit.digest, SCORER_VERSION, torch.__version__, transformers.__version__,
            self.model.dtype, self.model.device.type, batch_tokens,
        )  # fmt: skip


def measure(
    subject: ScoredModel,
    units: Sequence[RequestBatch],
    store: Store,
    progress: Progress,
    *,
    batch_tokens: int | None,
    label: str,
    reuse: Reuse = NOTHING,
    keep_tokens: bool = False,
) -> dict[str, Measured]:
    """Score every unit, skipping what the store already holds.

    Args:
        label: ``base`` or ``edited``, for the progress display.
        reuse: hidden states and scores to take over from the base. The scores are the same without it.
        keep_tokens: also keep the log-likelihood of each token, for ``reuse``.

    Raises:
        CanonbenchError: a sequence does not fit the model, a logit is not finite, or the disk is full.
    """
    results = {}
    for unit in units:
        with store.journal(subject.key(unit, batch_tokens)) as journal:
            what = f"{label} {unit.name}"
            _fill(journal, subject.model, unit, progress, batch_tokens, what, reuse, keep_tokens=keep_tokens)
            results[unit.name] = _measured(journal, unit)
    return results


def measure_base(
    subject: ScoredModel,
    units: Sequence[RequestBatch],
    store: Store,
    progress: Progress,
    *,
    batch_tokens: int | None,
    states: States | None = None,
) -> dict[str, Measured]:
    """Score every unit of a base, and part of G a second time in different batches, under ``noise``."""
    noise = noise_unit(units)
    progress.expect(sum(unit.n_tokens for unit in [*units, *noise]))
    how: dict[str, Any] = {"reuse": Reuse(states), "keep_tokens": keeps_tokens(subject.model)}
    found = measure(subject, units, store, progress, batch_tokens=batch_tokens, label="base", **how)
    other = other_batch_tokens(subject.model, batch_tokens)
    return found | measure(subject, noise, store, progress, batch_tokens=other, label="base")


def other_batch_tokens(model: Any, batch_tokens: int | None) -> int:
    """Return the batch size for measuring the noise floor: half the usual one."""
    return max(1, (batch_tokens or auto_batch_tokens(model)) // 2)


def measure_within(
    subject: ScoredModel,
    unit: RequestBatch,
    store: Store,
    progress: Progress,
    *,
    batch_tokens: int | None,
    label: str,
    limit: float,
    reuse: Reuse = NOTHING,
) -> tuple[float, Measured | None]:
    """Score a unit, and stop once the sum of its losses exceeds ``limit`` nats.

    Losses are never negative, so later requests could not lower the sum again.

    Returns:
        The sum so far, in nats, and the log-likelihoods, or None if scoring stopped early.
    """
    with store.journal(subject.key(unit, batch_tokens)) as journal:
        _fill(journal, subject.model, unit, progress, batch_tokens, f"{label} {unit.name}", reuse, limit)
        nats = -math.fsum(journal.sums.values())
        whole = len(journal.sums) == len(unit.requests)
        return nats, _measured(journal, unit) if whole else None


def _measured(journal: Journal, unit: RequestBatch) -> Measured:
    """Read the scores of a complete unit from its journal."""
    tokens = journal.tokens if len(journal.tokens) == len(unit.requests) else None
    return Measured(journal.array(len(unit.requests)), journal.seconds, tokens)


def _fill(
    journal: Journal,
    model: Any,
    unit: RequestBatch,
    progress: Progress,
    batch_tokens: int | None,
    what: str,
    reuse: Reuse,
    limit: float = math.inf,
    *,
    keep_tokens: bool = False,
) -> None:
    packs = plan(model, unit.requests, batch_tokens=batch_tokens, origins=unit.origins)
    rest = [pack for pack in packs if not all(request in journal.sums for request in pack.requests)]
    progress.skip(_asked(unit, packs) - _asked(unit, rest), what)
    unchanged = reuse.unchanged(unit.name, unit.requests)
    parts = [unchanged.rest(pack) if unchanged else pack for pack in rest]
    run = [part for part in parts if part is not None]
    with reuse.running(model, run) as during:
        for number, (pack, part) in enumerate(zip(rest, parts, strict=True)):
            if -math.fsum(journal.sums.values()) > limit:
                progress.expect(-_asked(unit, rest[number:]))
                break
            start = time.perf_counter()
            try:
                found = dict(score(model, part, unit.origins, during=during)) if part is not None else {}
            except CanonbenchError as error:
                raise type(error)(f"{error} ({what})") from error
            values = unchanged.completed(pack, found) if unchanged else found
            sums = {request: float(own.sum()) for request, own in values.items()}
            journal.append(sums, time.perf_counter() - start, values if keep_tokens else None)
            progress.advance(_asked(unit, [pack]), what)


def _asked(unit: RequestBatch, packs: Sequence[Pack]) -> int:
    """Count the tokens, as given, of the requests in ``packs``."""
    return sum(len(unit.requests[request].ids) for pack in packs for request in pack.requests)


def cost(
    model: ModelLike,
    *,
    base: ModelLike | None = None,
    tokenizer: Any = None,
    tasks: str | Iterable[str] = "all",
    suite: str | Path | Suite | None = None,
    split: str = "test",
    general: str | None = None,
    limit: int | None = None,
    protocol: str = "canonbench-1",
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> dict[str, Estimate]:
    """Estimate the tokens, FLOPs and bytes of ``evaluate`` with the same arguments.

    Both models are loaded and checked, so bad input raises as in ``evaluate``. Scores that are already cached, which
    ``evaluate`` would not compute again, are counted too.

    Returns:
        The cost under ``model``, or under ``base`` and ``edited``.

    Raises:
        UsageError, CanonbenchError: as ``evaluate``.
    """
    progress = progress or Progress()
    require_batch_tokens(batch_tokens)
    asked = resolve(suite=suite, tasks=tasks, split=split, general=general, protocol_name=protocol, limit=limit)
    announce(asked, progress.say, by_default=suite is None)
    how = Loading(device, dtype, Trust(allow_pickle, trust_remote_code), progress.say)
    edited, before = model_handles(model, base, tokenizer, how)
    questions = [question(asked.suite, name, split, asked.protocol, limit) for name in asked.tasks]
    seen = prepare(edited, asked, questions)
    of_model = _estimate(seen, batch_tokens, with_noise=False)
    if before is None:
        return {"model": of_model}
    if edited.is_name:
        free(seen.loaded)
    seen_base = prepare(before, asked, questions)
    require_comparable(seen, seen_base)
    return {"base": _estimate(seen_base, batch_tokens, with_noise=True), "edited": of_model}


def _estimate(seen: Prepared, batch_tokens: int | None, *, with_noise: bool) -> Estimate:
    model = seen.loaded.model
    packs = [pack for unit in seen.units for pack in plan(model, unit.requests, batch_tokens=batch_tokens)]
    if with_noise:
        other = other_batch_tokens(model, batch_tokens)
        packs += [pack for unit in noise_unit(seen.units) for pack in plan(model, unit.requests, batch_tokens=other)]
    return estimate(model, packs)
