"""What all trials of an edit run share: the request to the method, the base and its scores, and candidate scoring.

Also builds the columns of examples.parquet: the base's rows once, and those of every candidate chosen in a league.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from canonbench.cache import Store
from canonbench.editing import EditRequest, Method
from canonbench.errors import CanonbenchError
from canonbench.likelihood import Reuse, StateCache, unchanged_scores
from canonbench.models import (
    Answers,
    Fingerprint,
    LoadedModel,
    answers,
    differ,
    fingerprint,
    in_memory,
    is_of_edit,
    require_unchanged,
)
from canonbench.results import Candidate, concatenate
from canonbench.runs.candidates import MethodError, Trained
from canonbench.runs.folder import RunFolder
from canonbench.runs.measure import ScoredModel, measure, measure_within
from canonbench.runs.prepare import ModelHandle, Prepared
from canonbench.runs.progress import Progress
from canonbench.runs.requests import Measured, RequestBatch, TaskRows
from canonbench.runs.rows import Columns, general_columns, task_columns
from canonbench.runs.spec import EvalSpec
from canonbench.scoring import UNEDITED, general_loss, in_league, loss_ratio, mean_loss, success_rate
from canonbench.suite import Example


def edit_request(asked: EvalSpec, task: str, seed: int, settings: Any) -> EditRequest[Any]:
    """Build the request to a method: the task's canonical examples of the split, and any regularisation text."""
    rows = asked.suite.task(task).split(asked.split).canonical
    general = asked.general
    return EditRequest(
        task=task,
        loss=asked.suite.task(task).task.loss,
        canonical=[Example(*each) for each in zip(rows["prefix"], rows["suffix_a"], rows["suffix_b"], strict=True)],
        regularization=list(general.texts("regularization")["text"]) if general and general.spec.regularization else [],
        seed=seed,
        hyperparameters=settings,
    )


def candidate_columns(
    rows: TaskRows,
    units: Mapping[str, RequestBatch],
    edited: Mapping[str, Measured],
    base: Mapping[str, Measured],
    *,
    seed: int,
    number: int = UNEDITED,
) -> Columns:
    """Build the columns of one task's evaluation rows, hard negatives and general chunks for one candidate.

    Args:
        rows: the task's rows.
        units: requests by name: the task's and ``general``.
        edited: the candidate's scores under the same names; for the unedited model, the base's.
        base: the base's scores under the same names, and ``noise``.
        seed: the candidate's seed.
        number: the candidate's number.
    """
    name = rows.task.name
    blocks = task_columns(rows, units[name], edited[name], base[name])
    general = general_columns(units["general"], edited["general"], base["general"], base["noise"])
    general["task"] = np.full(len(general["task"]), name, dtype=object)
    columns = concatenate([*blocks, general])
    for key, value in (("seed", seed), ("candidate", number)):
        columns[key] = np.full(len(columns["task"]), value, dtype=np.int64)
    return columns


def task_numbers(rows: TaskRows, unit: RequestBatch, measured: Measured, threshold: float) -> tuple[float, float]:
    """Return a model's success rate in percent, and its mean NLL on the hard negatives in nats."""
    evaluation, hard = task_columns(rows, unit, measured, None)
    return success_rate(evaluation["edited_loss"], threshold), mean_loss(hard["edited_loss"])


@dataclass(frozen=True)
class Scored:
    """A scored candidate with all of its log-likelihoods."""

    candidate: Candidate
    measured: dict[str, Measured]
    """Scores of the task and of ``general``, by name; empty if the candidate is in no league."""


@dataclass(frozen=True)
class EditRun:
    """The parts of an edit run that all trials share."""

    asked: EvalSpec
    method: Method
    settings: Any
    opener: ModelHandle
    base: Prepared
    base_measured: Mapping[str, Measured]
    questions: Mapping[str, TaskRows]
    folder: RunFolder
    progress: Progress
    batch_tokens: int | None
    keep: str
    """Which candidates to keep on disk: all, best (those chosen in a league) or none."""
    states: StateCache
    unedited: list[Answers] = field(default_factory=list)
    """The base's outputs on ``first_sequences``, taken before the method is first called; empty until then."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings as plain values, for rows and records."""
        return plain(self.settings)

    def expect(self, trials: int) -> None:
        """Announce the work known in advance: for each trial one training, and on val G once per epoch."""
        self.progress.expect_trainings(trials)
        self.progress.expect(trials * self._expected * self.unit("general").n_tokens)

    @property
    def _expected(self) -> int:
        """Number of candidates per trial that G is expected to be scored for."""
        return getattr(self.settings, "epochs", 1) if self.asked.split == "val" else 1

    def unit(self, name: str) -> RequestBatch:
        """Return the requests of a task, or of ``general``."""
        return next(unit for unit in self.base.units if unit.name == name)

    def fresh_base(self) -> LoadedModel:
        """Load the unedited model for a method to change, and check its fingerprint and scores.

        Raises:
            CanonbenchError: the loaded model is no longer the base, or its scores have changed.
        """
        if self.opener.is_name:
            loaded = self.opener.open_again(self.base.fingerprint)
        else:
            loaded = in_memory(copy.deepcopy(self.opener.model), self.opener.tokenizer, self.base.loaded.source.name)
            require_unchanged(loaded, self.base.fingerprint)
        found = answers(loaded.model, self.first_sequences())
        if not self.unedited:
            self.unedited.append(found)
        elif apart := differ(found, self.unedited[0]):
            raise CanonbenchError(
                f"the base {loaded.source.name} scores otherwise than before the method was called, by up to "
                f"{apart:.1e} nats: the method has changed code that all models share, as a class's 'forward' or a "
                "function of torch; let it change the weights of the model that it is given"
            )
        return loaded

    def first_sequences(self) -> list[tuple[int, ...]]:
        """Return the first request of every task and of general text, used to tell models apart by their outputs."""
        return [unit.requests[0].ids for unit in self.base.units]

    def request(self, task: str, seed: int) -> EditRequest[Any]:
        """Build the request that the method receives."""
        return edit_request(self.asked, task, seed, self.settings)

    def numbers(self, task: str, measured: Measured) -> tuple[float, float]:
        """Return the success rate in percent and the mean NLL on the hard negatives in nats."""
        own = self.asked.suite.task(task).task
        threshold = self.asked.protocol.threshold(task, own.threshold)
        return task_numbers(self.questions[task], self.unit(task), measured, threshold)

    def base_numbers(self, task: str) -> tuple[float, float]:
        """Return the base's success rate in percent and its mean NLL on the hard negatives in nats."""
        return self.numbers(task, self.base_measured[task])

    def columns(self, task: str, seed: int, number: int, measured: Mapping[str, Measured]) -> Columns:
        """Return one candidate's columns of examples.parquet, with the base's scores beside its own."""
        units = {name: self.unit(name) for name in (task, "general")}
        return candidate_columns(self.questions[task], units, measured, self.base_measured, seed=seed, number=number)

    def prepare(self, model: Any, base: LoadedModel) -> Fingerprint:
        """Take a candidate's fingerprint before it is scored.

        Raises:
            MethodError: its architecture differs from the base's, or its weights contain NaN.
        """
        try:
            found = fingerprint(model)
        except CanonbenchError as error:
            raise MethodError(str(error)) from error
        adapted = hasattr(model, "peft_config") or type(model) is not type(base.model)
        if not adapted and not all(map(is_of_edit, found.tensors.keys() ^ self.base.fingerprint.tensors.keys())):
            raise MethodError("a different architecture: its tensors are not, by name, those of the base")
        return found

    def measure(self, task: str, seed: int, trained: Trained, model: Any, mark: Fingerprint) -> Scored | None:
        """Score a candidate on G, stopping once it is outside every league; if it is in one, also on E and H.

        Returns None for the unedited model: the same tensors, or bit-identical scores on G. (If the kind of edit is
        known to leave some scores unchanged, identical scores on G prove nothing about the others.)
        """
        kept = {name: each.tokens for name, each in self.base_measured.items()}
        scores = unchanged_scores(model, self.base.fingerprint, mark, kept)
        if mark.key == self.base.fingerprint.key or (scores is not None and not scores.words):
            return None
        subject = ScoredModel(model, mark)
        store = Store(self.folder.scores_path, self.progress.say)
        what = f"{task} seed {seed} candidate {trained.number}"
        if self.asked.split == "val" and trained.number > self._expected:
            self.progress.expect(self.unit("general").n_tokens)
        general, n_tokens = self.unit("general"), self.unit("general").n_scored
        before = -self.base_measured["general"].sums
        widest = 1 + max(self.asked.protocol.leagues.values())
        start = time.perf_counter()
        limit = widest * math.fsum(before)
        states = self.states.between(model, self.base.fingerprint, mark)
        how: dict[str, Any] = {"batch_tokens": self.batch_tokens, "label": what, "reuse": Reuse(states, scores)}
        nats, losses = measure_within(subject, general, store, self.progress, limit=limit, **how)
        took = {"training": trained.seconds, "general": time.perf_counter() - start}
        if scores is None and losses is not None and np.array_equal(losses.sums, self.base_measured["general"].sums):
            return None
        ratio = nats / math.fsum(before)
        if losses is not None:
            ratio = loss_ratio(general_loss(before, n_tokens), general_loss(-losses.sums, n_tokens))
        leagues = {
            label: losses is not None and in_league(ratio, epsilon)
            for label, epsilon in self.asked.protocol.leagues.items()
        }
        measured: dict[str, Measured] = {}
        success = hard = None
        if losses is not None and any(leagues.values()):
            start = time.perf_counter()
            self.progress.expect(self.unit(task).n_tokens)
            measured = {"general": losses} | measure(subject, [self.unit(task)], store, self.progress, **how)
            took["task"] = time.perf_counter() - start
            success, hard = self.numbers(task, measured[task])
        candidate = Candidate(
            task, seed, trained.number, mark.key, trained.training_loss,
            ratio, losses is None, leagues, success, hard,
            {name: round(seconds, 3) for name, seconds in took.items()},
        )  # fmt: skip
        return Scored(candidate, measured)


def plain(settings: Any) -> dict[str, Any]:
    """Convert a method's settings to values that JSON and YAML can hold."""
    values = (
        {each.name: getattr(settings, each.name) for each in fields(settings)} if is_dataclass(settings) else settings
    )
    return dict(json.loads(json.dumps(values)))
