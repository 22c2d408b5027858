"""Choose the β of an ensemble: the largest of 1.0, 0.9, ... that stays in the league on G_val
(docs/reference/protocol.md#8-methods).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from canonbench.cache import Journal, Store, base_store
from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.likelihood import plan, score, under
from canonbench.model_names import EnsembleName, is_ensemble, parse_ensemble
from canonbench.models import Fingerprint, Loading, config_hash, fingerprint
from canonbench.runs.measure import ScoredModel, measure
from canonbench.runs.prepare import ModelHandle, Prepared, free, prepare
from canonbench.runs.progress import Progress
from canonbench.runs.requests import RequestBatch
from canonbench.runs.spec import EvalSpec
from canonbench.scoring import Protocol, general_loss, in_league, loss_ratio

BETAS = tuple(tenths / 10 for tenths in range(10, 0, -1))
"""The values of β to try, largest first. β = 0 is the large model itself."""


def with_beta(
    model: Any,
    base: Any,
    asked: EvalSpec,
    how: Loading,
    progress: Progress,
    *,
    batch_tokens: int | None,
) -> tuple[Any, str | None]:
    """Choose β if ``model`` names an ensemble without one; return any other model unchanged.

    All β share one pass over G_val, cached with the scores of base models. Scoring of a β stops as soon as its loss
    puts it outside every league. The β chosen for each league is reported to ``progress``.

    Args:
        model: the model to evaluate.
        base: the base of the ensemble's small edit, if the ensemble does not name it.
        asked: the data and the rules.
        how: how models are loaded.
        progress: receives notes and token counts.
        batch_tokens: tokens per forward pass.

    Returns:
        The ensemble's name with its β, and the hash of the weights that β was chosen with; or ``model`` and None.

    Raises:
        UsageError: the split is not val, there is no general text, or the league is unknown.
        CanonbenchError: only β = 0 is in the league, or the ensemble cannot be scored.
    """
    if not is_ensemble(model):
        return model, None
    name = parse_ensemble(model)
    if name.beta == 0:
        raise CanonbenchError(f"{model}: with beta=0 it is {name.large} alone: there is no edit to evaluate")
    if name.beta is not None:
        return model, None
    _require_val(name, asked)
    # β does not change the ensemble's weights or tokens, so any value will do here
    seen = prepare(ModelHandle(str(replace(name, beta=1.0)), None, how, base=base), asked, [])
    with TemporaryDirectory(prefix="canonbench-") as aside:
        ratios = _ratios(seen, base_store(Path(aside), progress.say), asked.protocol, progress, batch_tokens)
    chosen = choose_beta(ratios, asked.protocol)
    progress.say("β by league on G_val: " + ", ".join(f"{label}: {beta:g}" for label, beta in chosen.items()))
    complete = parse_ensemble(seen.loaded.source.name)
    free(seen.loaded)
    return str(replace(complete, beta=_taken(chosen, name, asked.protocol))), seen.fingerprint.weights


def _ratios(
    seen: Prepared, store: Store, protocol: Protocol, progress: Progress, batch_tokens: int | None
) -> dict[float, float]:
    """Map each β to its loss ratio on G; infinity if scoring stopped because it was outside every league."""
    ensemble, [unit] = seen.loaded.model, seen.units
    progress.expect(2 * unit.n_tokens)
    large = ScoredModel(ensemble.large, fingerprint(ensemble.large))
    before = -measure(large, [unit], store, progress, batch_tokens=batch_tokens, label="base")["general"].sums
    limit = (1 + max(protocol.leagues.values())) * math.fsum(before)
    with ExitStack() as held:
        journals = {}
        for beta in BETAS:
            key = ScoredModel(ensemble, _at(seen.fingerprint, ensemble, beta)).key(unit, batch_tokens)
            journals[beta] = held.enter_context(store.journal(key))
        _fill(journals, ensemble, unit, progress, batch_tokens, limit)
        return {beta: _ratio(journal, before, unit) for beta, journal in journals.items()}


def choose_beta(ratios: Mapping[float, float], protocol: Protocol) -> dict[str, float]:
    """Return the largest β in each league, or 0 if none is. ``ratios`` maps β to the loss ratio on G_val.

    The league ``last`` needs a ratio strictly below the cutoff, as for the candidates of an edit run.
    """
    strict = protocol.selection == "last"
    return {
        label: max((beta for beta, ratio in ratios.items() if in_league(ratio, epsilon, strict=strict)), default=0.0)
        for label, epsilon in protocol.leagues.items()
    }


def _require_val(name: EnsembleName, asked: EvalSpec) -> None:
    if asked.split != "val":
        raise UsageError(
            "beta=auto is chosen on general text of the val split, never on that of the test split: run the same with "
            "--split val, then give the β of that run here, as in beta=0.5"
        )
    if asked.general is None:
        raise UsageError("beta=auto is chosen on general text, and none is scored here: name one with --general")
    if name.league is not None and name.league not in asked.protocol.leagues:
        raise unknown_name("league", name.league, asked.protocol.leagues, where=f"of protocol {asked.protocol.name}")


def _taken(chosen: Mapping[str, float], name: EnsembleName, protocol: Protocol) -> float:
    """Return the β of the league in the ensemble's name, or of the tightest league if it names none."""
    league = name.league or min(protocol.leagues, key=lambda label: protocol.leagues[label])
    if not chosen[league]:
        raise CanonbenchError(
            f"no β from {BETAS[-1]:g} on is in league {league} on G_val: there the choice is {name.large} alone, "
            f"and there is nothing to evaluate (β by league: {', '.join(f'{k}: {v:g}' for k, v in chosen.items())})"
        )
    return chosen[league]


def _at(found: Fingerprint, ensemble: Any, beta: float) -> Fingerprint:
    """Return the ensemble's fingerprint for another β, without hashing its tensors again."""
    own, ensemble.config.beta = ensemble.config.beta, beta
    config = config_hash(ensemble)
    ensemble.config.beta = own
    return replace(found, config=config)


def _fill(
    journals: Mapping[float, Journal],
    ensemble: Any,
    unit: RequestBatch,
    progress: Progress,
    batch_tokens: int | None,
    limit: float,
) -> None:
    """Score the missing packs under each β that is not yet outside every league."""
    for pack in plan(ensemble, unit.requests, batch_tokens=batch_tokens, origins=unit.origins):
        betas = [
            beta
            for beta, journal in journals.items()
            if -math.fsum(journal.sums.values()) <= limit and not all(each in journal.sums for each in pack.requests)
        ]
        start = time.perf_counter()
        found = dict(score(ensemble, pack, unit.origins, compute=under(betas))) if betas else {}
        seconds = (time.perf_counter() - start) / max(1, len(betas))
        for column, beta in enumerate(betas):
            journals[beta].append({each: float(own[:, column].sum()) for each, own in found.items()}, seconds)
        tokens = sum(len(unit.requests[each].ids) for each in pack.requests)
        (progress.advance if betas else progress.skip)(tokens, "beta")


def _ratio(journal: Journal, before: Any, unit: RequestBatch) -> float:
    """Return the loss ratio, or infinity if scoring stopped early because β was outside every league."""
    if len(journal.sums) < len(unit.requests):
        return math.inf
    after = -journal.array(len(unit.requests))
    return loss_ratio(general_loss(before, unit.n_scored), general_loss(after, unit.n_scored))
