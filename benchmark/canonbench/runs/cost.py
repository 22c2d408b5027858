"""What an evaluation would cost: everything short of scoring."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from canonbench.likelihood.engine import plan
from canonbench.likelihood.estimate import Estimate, estimate
from canonbench.models.checkpoint import Trust
from canonbench.models.load import Loading
from canonbench.runs.look import Seen, look, require_comparable
from canonbench.runs.measure import other_batch_tokens
from canonbench.runs.pair import ModelLike, free, openers
from canonbench.runs.progress import Progress
from canonbench.runs.questions import noise_unit, question
from canonbench.runs.settings import announce, require_batch_tokens, resolve
from canonbench.suite import Suite


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
    """Tokens, FLOPs and bytes of ``evaluate`` with the same arguments, by ``model``, or by ``base`` and ``edited``.

    Both models are loaded and looked at, so whatever would be refused is refused. Scores that lie in the cache
    already, which ``evaluate`` would not compute again, are counted.

    Raises:
        UsageError, CanonbenchError: as ``evaluate``.
    """
    progress = progress or Progress()
    require_batch_tokens(batch_tokens)
    asked = resolve(suite=suite, tasks=tasks, split=split, general=general, protocol_name=protocol, limit=limit)
    announce(asked, progress.say, by_default=suite is None)
    how = Loading(device, dtype, Trust(allow_pickle, trust_remote_code), progress.say)
    edited, before = openers(model, base, tokenizer, how)
    questions = [question(asked.suite, name, split, asked.protocol, limit) for name in asked.tasks]
    seen = look(edited, asked, questions)
    of_model = _estimate(seen, batch_tokens, with_noise=False)
    if before is None:
        return {"model": of_model}
    if edited.is_name:
        free(seen.loaded)
    seen_base = look(before, asked, questions)
    require_comparable(seen, seen_base)
    return {"base": _estimate(seen_base, batch_tokens, with_noise=True), "edited": of_model}


def _estimate(seen: Seen, batch_tokens: int | None, *, with_noise: bool) -> Estimate:
    model = seen.loaded.model
    packs = [pack for unit in seen.units for pack in plan(model, unit.requests, batch_tokens=batch_tokens)]
    if with_noise:
        other = other_batch_tokens(model, batch_tokens)
        packs += [pack for unit in noise_unit(seen.units) for pack in plan(model, unit.requests, batch_tokens=other)]
    return estimate(model, packs)
