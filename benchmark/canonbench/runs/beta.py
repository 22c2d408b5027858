"""The β of an ensemble: the largest of 1.0, 0.9, ... that is in the league on G_val
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
"""Those that are tried, the largest first; 0 is the large model itself."""


def with_beta(
    model: Any,
    base: Any,
    asked: EvalSpec,
    how: Loading,
    progress: Progress,
    *,
    batch_tokens: int | None,
) -> tuple[Any, str | None]:
    """``model`` as it is and None; where it names an ensemble whose β is to be chosen, its name with the β that is,
    and the hash of the weights by which it was chosen.

    G_val is scored once for all β, in the cache that bases share, and none is scored further than needed to see that
    it is outside every league. What was chosen for every league is said.

    Args:
        model: what is to be evaluated.
        base: of the ensemble's small edit, where the ensemble does not name it.
        asked: which data, by which rules.
        how: how models are loaded.
        progress: receives notes and token counts.
        batch_tokens: tokens that go through the model at once.

    Raises:
        UsageError: this is not the val split, there is no general text, or no such league.
        CanonbenchError: β is 0, no other is in the league, or the ensemble cannot be scored.
    """
    if not is_ensemble(model):
        return model, None
    name = parse_ensemble(model)
    if name.beta == 0:
        raise CanonbenchError(f"{model}: with beta=0 it is {name.large} alone: there is no edit to evaluate")
    if name.beta is not None:
        return model, None
    _require_val(name, asked)
    # of all β the same ensemble, so any will do to look at it
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
    """β to loss ratio on G, infinite where it is outside every league for sure."""
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
    """Per league the largest β in it, of β to loss ratio on G_val; 0 if there is none.

    As for the candidates of an edit run, ``last`` asks for a ratio strictly below the cutoff.
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
    """The β for the league that was asked for, else for the tightest."""
    league = name.league or min(protocol.leagues, key=lambda label: protocol.leagues[label])
    if not chosen[league]:
        raise CanonbenchError(
            f"no β from {BETAS[-1]:g} on is in league {league} on G_val: there the choice is {name.large} alone, "
            f"and there is nothing to evaluate (β by league: {', '.join(f'{k}: {v:g}' for k, v in chosen.items())})"
        )
    return chosen[league]


def _at(found: Fingerprint, ensemble: Any, beta: float) -> Fingerprint:
    """The fingerprint of the ensemble with another β; its tensors are not hashed again."""
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
    """Score every pack under each β that has not been, and that is not outside every league already."""
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
    """The loss ratio; infinite where scoring was broken off, outside every league."""
    if len(journal.sums) < len(unit.requests):
        return math.inf
    after = -journal.array(len(unit.requests))
    return loss_ratio(general_loss(before, unit.n_scored), general_loss(after, unit.n_scored))
