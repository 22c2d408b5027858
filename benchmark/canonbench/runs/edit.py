"""Run an editing method: train, find the leagues of every candidate, choose, and report one row
(docs/reference/protocol.md#5-selection).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from canonbench.board import draw_trajectory
from canonbench.cache import base_store
from canonbench.editing import ChecksModel, Method, find_method, foreign, merged, parse_settings
from canonbench.errors import CanonbenchError, UsageError, require_whole
from canonbench.likelihood import STATES_BUDGET, StateCache, budget_bytes
from canonbench.model_names import is_ensemble
from canonbench.models import Loading, Trust
from canonbench.results import Row, concatenate, write_candidates, write_parquet
from canonbench.runs.candidates import Chosen, read_chosen
from canonbench.runs.edit_run import EditRun, plain
from canonbench.runs.folder import require_places, run_folder, write_copy
from canonbench.runs.measure import ScoredModel, measure_base
from canonbench.runs.prepare import ModelLike, Prepared, free, model_handles, prepare, run_identity
from canonbench.runs.progress import Progress
from canonbench.runs.requests import question
from canonbench.runs.rows import Described, build_edit_row
from canonbench.runs.spec import EvalSpec, announce, require_batch_tokens, resolve, with_leagues
from canonbench.runs.trial import Outcome, Trial
from canonbench.scoring import UNEDITED
from canonbench.suite import Suite

SEEDS = {"val": 1, "test": 5}
"""Default number of repetitions by split (docs/reference/protocol.md#5-selection)."""
MOST_SEEDS = 10_000
"""Largest number of repetitions accepted; more would train for years."""
LATEST = sys.maxsize
"""Cap on the candidate number for a test run without a val run: no limit in practice."""


def edit(
    method: str | Path | Callable[..., Any],
    model: ModelLike,
    *,
    tokenizer: Any = None,
    tasks: str | Iterable[str] = "all",
    suite: str | Path | Suite | None = None,
    split: str = "val",
    general: str | None = None,
    limit: int | None = None,
    protocol: str = "canonbench-1",
    leagues: Iterable[str | float] | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    keep: str = "best",
    chosen: str | Path | Chosen | None = None,
    run: str | Path | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int | None = None,
    states_budget: float = STATES_BUDGET,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
    passed: Mapping[str, Any] | None = None,
) -> Row:
    """Edit a model for every task and report the improvement per league (docs/reference/protocol.md#4-leagues,
    #5-selection, #6-rows).

    Args:
        method: a function of (model, tokenizer, request), or a value of ``--method``; see ``find_method``.
        model: the model to edit: a folder, hub id, GGUF file, ``demo``, or a transformers model in memory, which is
            not changed.
        tokenizer: the tokenizer of a model in memory.
        tasks, suite, general, limit, protocol: as for ``evaluate``.
        split: ``val`` chooses among all candidates; ``test`` takes, per league, the last candidate in it that is not
            later than the one chosen on val.
        leagues: the ε of each league; None for the protocol's.
        seeds: number of repetitions per task, with seeds 0, 1, ...; None for one on val, five on test.
        settings: the method's hyperparameters; missing ones take their defaults.
        keep: the candidates to keep on disk: ``best`` (those chosen in a league), ``all`` or ``none``.
        chosen: on test, the finished val run (or its row, or its ``Chosen``) that supplies hyperparameters and
            candidate numbers.
        run: the run folder; ``auto`` makes one under ``canonbench-runs/``; None keeps only the base's scores.
        output: also write the row to exactly this file.
        device, dtype, batch_tokens: as for ``evaluate``.
        states_budget: GiB of disk for hidden states of the base, from which edited models resume; 0 for none.
        allow_pickle, trust_remote_code: as for ``evaluate``.
        progress: receives notes, training losses and token counts.
        passed: the arguments as the user gave them, for run.yaml.

    Raises:
        UsageError: an unknown name, contradictory arguments, or a hyperparameter that the method does not have.
        CanonbenchError: any other bad input, or the method failed before its first candidate.
    """
    progress = progress or Progress()
    states = StateCache(budget_bytes(states_budget), progress.say)
    require_batch_tokens(batch_tokens)
    require_places(run, output)
    if keep not in ("best", "all", "none"):
        raise UsageError(f"keep must be best, all or none, got {keep!r}")
    if is_ensemble(model):
        raise UsageError(f"{model} is scored, not edited: edit its small model, then name that edit in an ensemble")
    found = find_method(method)
    asked = resolve(suite=suite, tasks=tasks, split=split, general=general, protocol_name=protocol, limit=limit)
    asked = replace(asked, protocol=with_leagues(asked.protocol, leagues))
    if asked.general is None:
        raise CanonbenchError(f"suite {asked.suite.name} has no general text at hand: an edit is judged by its leagues")
    taken = _chosen(chosen, asked, found, settings)
    values = taken.hyperparameters if taken is not None else merged(found.defaults, settings or {})
    hyperparameters = parse_settings(found.settings, values)
    repeats = seeds if seeds is not None else SEEDS[asked.split]
    require_whole("seeds", repeats, 1, MOST_SEEDS)
    announce(asked, progress.say, by_default=suite is None)
    how = Loading(device, dtype, Trust(allow_pickle, trust_remote_code), progress.say)
    opener, _ = model_handles(model, None, tokenizer, how)
    questions = {name: question(asked.suite, name, asked.split, asked.protocol, limit) for name in asked.tasks}
    seen = prepare(opener, asked, list(questions.values()))
    if isinstance(hyperparameters, ChecksModel):
        with foreign(f"method {found.name}: check_model"):
            hyperparameters.check_model(seen.loaded.model)
    identity = _identity(asked, found, hyperparameters, seen, repeats, taken, batch_tokens)
    with run_folder(run, identity, [found.name, seen.loaded.source.name]) as folder:
        if run is not None:
            progress.in_folder(folder.path)
        if folder.claim(identity, {"passed": dict(passed or {})}) and folder.row_path.is_file():
            row = folder.row()
            progress.say("already complete: nothing is trained or scored again")
        else:
            subject, store = (
                ScoredModel(seen.loaded.model, seen.fingerprint),
                base_store(folder.scores_path, progress.say),
            )
            base_measured = measure_base(subject, seen.units, store, progress, batch_tokens=batch_tokens)
            world = EditRun(
                asked, found, hyperparameters, opener, seen, base_measured, questions, folder, progress,
                batch_tokens, keep, states,
            )  # fmt: skip
            described = Described.of(seen.loaded, seen.fingerprint)
            if opener.is_name:
                free(seen.loaded)  # every trial loads its own copy
            row = _trials(world, repeats, taken, described)
        write_copy(row, output, folder.row_path if run is not None else None)
    return row


def _trials(world: EditRun, repeats: int, taken: Chosen | None, described: Described) -> Row:
    """Run a trial for every task and seed, then build the row."""
    asked, folder = world.asked, world.folder
    trials = [Trial(world, task, seed, _caps(world, task, taken)) for task in asked.tasks for seed in range(repeats)]
    world.expect(sum(not trial.record.is_file() for trial in trials))
    outcomes: dict[str, dict[int, Outcome]] = {task: {} for task in asked.tasks}
    for trial in trials:
        outcomes[trial.task][trial.seed] = trial.finish()
    finished = [outcome for of_task in outcomes.values() for outcome in of_task.values()]
    found = [candidate for outcome in finished for candidate in outcome.candidates]
    unedited = [world.columns(task, 0, UNEDITED, world.base_measured) for task in asked.tasks]
    chosen = [columns for outcome in finished for columns in outcome.columns]
    examples = concatenate(unedited + chosen)
    folder.write_whole(folder.examples_path, lambda part: write_parquet(examples, part))
    write_candidates(found, folder.path / "candidates.jsonl")
    before = {task: world.base_numbers(task)[0] for task in asked.tasks}
    picture = folder.path / "trajectory.svg"
    folder.write_whole(picture, lambda part: draw_trajectory(found, before, asked.protocol.leagues, part))
    choices = {
        label: {task: {seed: each.choice[label] for seed, each in outcomes[task].items()} for task in asked.tasks}
        for label in asked.protocol.leagues
    }
    reported = {
        label: {task: taken.candidate(task, label) if taken else of_seeds[0] for task, of_seeds in of_league.items()}
        for label, of_league in choices.items()
    }
    seconds = sum(each.seconds for each in world.base_measured.values()) + sum(
        sum(each.seconds.values()) for each in found
    )
    method = world.method.name, world.hyperparameters
    row = build_edit_row(asked, examples, described, method, choices, reported, seconds)
    row.write(folder.row_path)
    folder.log("complete", seconds=round(seconds, 3))
    return row


def _chosen(
    given: str | Path | Chosen | None, asked: EvalSpec, method: Method, settings: Mapping[str, Any] | None
) -> Chosen | None:
    """Return the val run whose choices a test run uses; None if there is none."""
    if given is None:
        return None
    if asked.split != "test":
        raise UsageError("--chosen names a val run for a test run to follow; add --split test")
    if settings:
        raise UsageError("the hyperparameters are those of the chosen val run; leave --set out")
    return given if isinstance(given, Chosen) else read_chosen(Path(given), asked, method.name)


def _caps(world: EditRun, task: str, taken: Chosen | None) -> dict[str, int] | None:
    """Return, on test, the latest candidate allowed in each league; None on val."""
    if world.asked.split == "val":
        return None
    if taken is None:
        return dict.fromkeys(world.asked.protocol.leagues, LATEST)
    return {label: taken.candidate(task, label) for label in world.asked.protocol.leagues}


def _identity(
    asked: EvalSpec,
    method: Method,
    hyperparameters: Any,
    seen: Prepared,
    repeats: int,
    taken: Chosen | None,
    batch_tokens: int | None,
) -> dict[str, Any]:
    """Return everything the row's numbers depend on: first names, then content hashes."""
    return run_identity(
        asked,
        seen,
        batch_tokens,
        named={
            "method": method.name,
            "model": seen.loaded.source.name,
            "leagues": list(asked.protocol.leagues),
            "hyperparameters": plain(hyperparameters),
            "seeds": repeats,
        },
        hashed={
            "chosen": taken.digest if taken else None,
            "code": method.code_digest,
            "base_fingerprint": seen.fingerprint.key,
        },
    )
