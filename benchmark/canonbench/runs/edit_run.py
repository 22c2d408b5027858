"""What all trials of an edit run share: the base, its scores, and how a candidate is measured."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from canonbench.editing.contract import EditRequest
from canonbench.editing.method import Method
from canonbench.errors import CanonbenchError
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load import LoadedModel, in_memory, require_unchanged
from canonbench.models.proof import Answers, answers, differ
from canonbench.models.sense_edit_file import is_of_edit
from canonbench.runs.candidates import MethodError, Trained
from canonbench.runs.edit_examples import candidate_columns, task_numbers
from canonbench.runs.edit_request import edit_request
from canonbench.runs.examples import Columns
from canonbench.runs.folder import RunFolder
from canonbench.runs.look import Seen
from canonbench.runs.measure import Subject, measure, measure_within
from canonbench.runs.measured import Measured
from canonbench.runs.pair import Opener
from canonbench.runs.progress import Progress
from canonbench.runs.questions import Question, Unit
from canonbench.runs.reuse import reuse_between
from canonbench.runs.settings import Asked
from canonbench.runs.states import StateCache
from canonbench.runs.store import Store
from canonbench.runs.trajectory import Candidate
from canonbench.scoring import general_loss, loss_ratio
from canonbench.scoring.selection import in_league


@dataclass(frozen=True)
class Scored:
    """A candidate that was measured, with all of its log-likelihoods."""

    candidate: Candidate
    measured: dict[str, Measured]
    """The task's and ``general``; empty if it is in no league."""


@dataclass(frozen=True)
class EditRun:
    """The fixed parts of a run."""

    asked: Asked
    method: Method
    settings: Any
    opener: Opener
    base: Seen
    base_measured: Mapping[str, Measured]
    questions: Mapping[str, Question]
    folder: RunFolder
    progress: Progress
    batch_tokens: int | None
    keep: str
    """all, best (those that a league took) or none."""
    states: StateCache
    unedited: list[Answers] = field(default_factory=list)
    """What the base said of ``first_sequences`` before the method was called; empty until it was asked."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings in plain values, for rows and records."""
        return plain(self.settings)

    def expect(self, trials: int) -> None:
        """Tell the progress what is known to come: a training and, on val, G for every epoch of every trial."""
        self.progress.expect_trainings(trials)
        self.progress.expect(trials * self._expected * self.unit("general").n_tokens)

    @property
    def _expected(self) -> int:
        """Candidates of a trial whose G will be scored, as far as is known beforehand."""
        return getattr(self.settings, "epochs", 1) if self.asked.split == "val" else 1

    def unit(self, name: str) -> Unit:
        """A task's requests, or those of ``general``."""
        return next(unit for unit in self.base.units if unit.name == name)

    def fresh_base(self) -> LoadedModel:
        """The unedited model, proved by fingerprint, for a method to change as it likes.

        Raises:
            CanonbenchError: the model that was loaded is not the base any more, or scores otherwise than it did.
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
        """The first request of every task and of general text: by them an artefact is told from another model."""
        return [unit.requests[0].ids for unit in self.base.units]

    def request(self, task: str, seed: int) -> EditRequest[Any]:
        """What the method is asked."""
        return edit_request(self.asked, task, seed, self.settings)

    def numbers(self, task: str, measured: Measured) -> tuple[float, float]:
        """Success rate in percent and hard negatives in nats."""
        own = self.asked.suite.task(task).task
        threshold = self.asked.protocol.threshold(task, own.threshold)
        return task_numbers(self.questions[task], self.unit(task), measured, threshold)

    def base_numbers(self, task: str) -> tuple[float, float]:
        """The base's success rate in percent and hard negatives in nats."""
        return self.numbers(task, self.base_measured[task])

    def columns(self, task: str, seed: int, number: int, measured: Mapping[str, Measured]) -> Columns:
        """The examples of one candidate beside the base."""
        units = {name: self.unit(name) for name in (task, "general")}
        return candidate_columns(self.questions[task], units, measured, self.base_measured, seed=seed, number=number)

    def look(self, model: Any, base: LoadedModel) -> Fingerprint:
        """What a candidate is, as it is scored.

        Raises:
            MethodError: it has another architecture than its base, or NaN weights.
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
        """G first, and no further than needed to see that it is outside every league; E and H if it is in one.

        None for the unedited model: the same tensors, or the same scores to the last bit. (But what an edit is known to
        leave as it is says nothing of the rest.)
        """
        reuse = reuse_between(model, self.base.fingerprint, mark, self.base_measured)
        if mark.key == self.base.fingerprint.key or (reuse is not None and not reuse.words):
            return None
        subject = Subject(model, mark)
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
        how: dict[str, Any] = {"batch_tokens": self.batch_tokens, "label": what, "states": states, "reuse": reuse}
        nats, losses = measure_within(subject, general, store, self.progress, limit=limit, **how)
        took = {"training": trained.seconds, "general": time.perf_counter() - start}
        if reuse is None and losses is not None and np.array_equal(losses.sums, self.base_measured["general"].sums):
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
    """A method's settings in values that JSON and YAML can hold."""
    values = (
        {each.name: getattr(settings, each.name) for each in fields(settings)} if is_dataclass(settings) else settings
    )
    return dict(json.loads(json.dumps(values)))
