"""Evaluate one checkpoint on a suite and build its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from canonbench.cache import Store, base_store
from canonbench.errors import CanonbenchError
from canonbench.likelihood import STATES_BUDGET, Reuse, StateCache, budget_bytes, unchanged_scores
from canonbench.models import Loading, Trust
from canonbench.results import Row, concatenate, write_parquet
from canonbench.runs.beta import with_beta
from canonbench.runs.folder import RunFolder, require_places, run_folder, write_copy
from canonbench.runs.measure import ScoredModel, measure, measure_base
from canonbench.runs.merge import merged_from, with_merge
from canonbench.runs.prepare import (
    ModelHandle,
    ModelLike,
    Prepared,
    free,
    model_handles,
    prepare,
    require_comparable,
    run_identity,
)
from canonbench.runs.progress import Progress
from canonbench.runs.requests import Measured, TaskRows, question
from canonbench.runs.rows import Described, build_row, general_columns, reference, task_columns
from canonbench.runs.spec import EvalSpec, announce, require_batch_tokens, resolve
from canonbench.suite import Suite


def evaluate(
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
    """Score a checkpoint on a suite and return its row (docs/reference/protocol.md#1-log-likelihood, #2-tasks,
    #3-hard-negatives, #4-leagues, #6-rows).

    Args:
        model: a folder, hub id, PEFT adapter folder, GGUF file, ``demo``, an ensemble's name, or a transformers model
            in memory.
        base: the unedited model, likewise; an adapter names its own. Without one, the row holds the model's own scores.
            An ensemble is always compared with its large model; ``base`` is then the base of its small edit.
        tokenizer: the tokenizer of a model in memory.
        tasks: ``all``, names separated by commas, or an iterable of names.
        suite: ``mini``, ``published``, a folder with a ``suite.yaml``, or a Suite; None for ``published`` if available.
        split: ``test`` or ``val``.
        general: name of the general text for the leagues, or ``none``; None takes the suite's first available one.
        limit: use only the first ``limit`` rows of every file.
        protocol: a standard protocol's name or a YAML file.
        run: the run folder; ``auto`` makes one under ``canonbench-runs/``; None keeps only the base's scores.
        output: also write the row to exactly this file.
        device: torch device, or ``auto``. Models in memory stay where they are.
        dtype: torch dtype, or ``auto`` (docs/reference/protocol.md#1-log-likelihood).
        batch_tokens: tokens per forward pass; None chooses by device.
        states_budget: GiB of the cache for hidden states of base models, from which edited ones resume; 0 for none.
        allow_pickle: read pickle checkpoints too, with ``weights_only=True``.
        trust_remote_code: run Python code that comes with the checkpoint.
        progress: receives notes and token counts.
        passed: the arguments as the user gave them, for run.yaml.

    Raises:
        UsageError: an unknown name or contradictory arguments.
        CanonbenchError: any other bad input, or a model identical to its base; the message says what to do.
    """
    progress = progress or Progress()
    states = StateCache(budget_bytes(states_budget), progress.say)
    require_batch_tokens(batch_tokens)
    require_places(run, output)
    asked = resolve(suite=suite, tasks=tasks, split=split, general=general, protocol_name=protocol, limit=limit)
    announce(asked, progress.say, by_default=suite is None)
    how = Loading(device, dtype, Trust(allow_pickle, trust_remote_code), progress.say)
    model, weights = with_beta(model, base, asked, how, progress, batch_tokens=batch_tokens)
    openers_ = model_handles(model, base, tokenizer, how)
    questions = [question(asked.suite, name, split, asked.protocol, limit) for name in asked.tasks]
    evaluation = _Evaluation(asked, questions, progress, batch_tokens, states, passed or {}, weights)
    return evaluation.run(*openers_, run=run, output=output)


@dataclass(frozen=True)
class _Evaluation:
    asked: EvalSpec
    questions: list[TaskRows]
    progress: Progress
    batch_tokens: int | None
    states: StateCache
    passed: Mapping[str, Any]
    weights: str | None
    """For an ensemble: the hash of the weights that its β was chosen with in this run."""

    def run(
        self,
        edited: ModelHandle,
        base: ModelHandle | None,
        *,
        run: str | Path | None,
        output: str | Path | None,
    ) -> Row:
        """Check both models, then score the base (or read its cached scores), then the edited model."""
        seen = prepare(edited, self.asked, self.questions)
        if self.weights not in (None, seen.fingerprint.weights):
            raise CanonbenchError(
                f"{seen.loaded.source.name} has changed since its β was chosen; run the same command again"
            )
        before = None
        if base is not None:
            # One model in memory at a time: the edited one is loaded again after the base has been scored.
            if edited.is_name:
                free(seen.loaded)
            before = prepare(base, self.asked, self.questions)
            require_comparable(seen, before)
        identity = self.identity(seen, before)
        with run_folder(run, identity, [seen.loaded.source.name]) as folder:
            if run is not None:
                self.progress.in_folder(folder.path)
            if folder.claim(identity, {"passed": dict(self.passed)}) and folder.row_path.is_file():
                row = folder.row()
                self.progress.say("already complete: nothing is scored again")
            else:
                row = self.score(edited, seen, before, folder)
            write_copy(row, output, folder.row_path if run is not None else None)
        return row

    def identity(self, edited: Prepared, base: Prepared | None) -> dict[str, Any]:
        """Return everything the row's numbers depend on: first names, then content hashes."""
        return run_identity(
            self.asked,
            edited,
            self.batch_tokens,
            named={"model": edited.loaded.source.name, "base": base.loaded.source.name if base else None},
            hashed={
                "fingerprint": edited.fingerprint.key,
                "base_fingerprint": base.fingerprint.key if base else None,
            },
        )

    def score(self, edited: ModelHandle, seen: Prepared, before: Prepared | None, folder: RunFolder) -> Row:
        """Score both models, the expensive part. Each finished pack is saved to disk before the next one runs."""
        tokens = sum(unit.n_tokens for unit in seen.units)
        self.progress.expect(tokens)
        folder.log("scoring", tokens=tokens)
        record = merged_from(edited)  # read before checking that the model is still the one that was prepared
        base_measured, reuse = None, Reuse()
        if before is not None:
            states = self.states.between(before.loaded.model, before.fingerprint, seen.fingerprint)
            base_measured = measure_base(
                ScoredModel(before.loaded.model, before.fingerprint),
                before.units,
                base_store(folder.scores_path, self.progress.say),
                self.progress,
                batch_tokens=self.batch_tokens,
                states=states,
            )
            if edited.is_name:
                free(before.loaded)
                seen = replace(seen, loaded=edited.open_again(seen.fingerprint))
            kept = {name: each.tokens for name, each in base_measured.items()}
            scores = unchanged_scores(seen.loaded.model, before.fingerprint, seen.fingerprint, kept)
            reuse = Reuse(states, scores)
        # the search for an ensemble's β leaves the scores of G in the cache
        is_ensemble = seen.loaded.source.kind == "ensemble"
        store = base_store if is_ensemble else Store
        measured = measure(
            ScoredModel(seen.loaded.model, seen.fingerprint),
            seen.units,
            store(folder.scores_path, self.progress.say),
            self.progress,
            batch_tokens=self.batch_tokens,
            label="edited" if before else "model",
            reuse=reuse,
        )
        if base_measured is not None:
            _require_changed(measured, base_measured)
        blocks = []
        units = {unit.name: unit for unit in seen.units}
        for rows in self.questions:
            name = rows.task.name
            blocks += task_columns(rows, units[name], measured[name], base_measured[name] if base_measured else None)
        if "general" in units:
            before_general = base_measured["general"] if base_measured else None
            again = base_measured["noise"] if base_measured else None
            blocks.append(general_columns(units["general"], measured["general"], before_general, again))
        examples = concatenate(blocks)
        folder.write_whole(folder.examples_path, lambda part: write_parquet(examples, part))
        seconds = sum(each.seconds for found in (measured, base_measured or {}) for each in found.values())
        row = build_row(
            self.asked,
            examples,
            Described.of(seen.loaded, seen.fingerprint),
            reference(before.loaded.source) if before else None,
            before.fingerprint.key if before else None,
            seconds,
        )
        row = with_merge(row, record)
        row.write(folder.row_path)
        folder.log("complete", seconds=round(seconds, 3))
        return row


def _require_changed(edited: Mapping[str, Measured], base: Mapping[str, Measured]) -> None:
    """Raise CanonbenchError if no score differs from the base: the edit was never applied, whatever its weights."""
    if all(np.array_equal(edited[name].sums, base[name].sums) for name in edited):
        raise CanonbenchError(
            "base and edited model score every example exactly alike: the edit (or adapter) has no effect "
            "on this suite, so there is nothing to report"
        )
