"""One trial of an edit run (one task, one seed), from training to the choice of a candidate in each league."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from canonbench.editing import foreign
from canonbench.errors import CanonbenchError
from canonbench.files import clear_leftovers, remove_folder
from canonbench.likelihood import NotFinite
from canonbench.models import (
    Answers,
    Fingerprint,
    LoadedModel,
    NotKept,
    Skeleton,
    answers,
    as_scored,
    differ,
    is_artefact,
    open_artefact,
    save_artefact,
)
from canonbench.records import read_json
from canonbench.results import Candidate, concatenate, read_parquet, write_parquet
from canonbench.runs.candidates import Listener, MethodError, Trained, candidates, require_candidate
from canonbench.runs.edit_run import EditRun, Scored
from canonbench.runs.prepare import free
from canonbench.runs.rows import Columns
from canonbench.scoring import UNEDITED, Judged, Protocol, choose_on_test, choose_on_val, next_to_measure


class Outcome(NamedTuple):
    """A finished trial."""

    candidates: list[Candidate]
    choice: dict[str, int]
    """The candidate chosen in each league; 0 is the unedited model."""
    columns: list[Columns]
    """The columns of examples.parquet for every chosen candidate."""


@dataclass
class Trial:
    """One task and seed, with the candidates scored so far."""

    run: EditRun
    task: str
    seed: int
    caps: Mapping[str, int] | None
    """On test: the candidate chosen on val, by league. On val: None."""
    scored: dict[int, Scored] = field(default_factory=dict)
    answers: dict[int, Answers] = field(default_factory=dict)
    """Each candidate's outputs on the run's first sequences, taken when the method yielded it."""

    @property
    def name(self) -> str:
        """The trial's name in messages."""
        return f"{self.task} seed {self.seed}"

    @property
    def protocol(self) -> Protocol:
        """The protocol by which candidates are chosen."""
        return self.run.asked.protocol

    @property
    def record(self) -> Path:
        """Path of the record of the trial's candidates and choices; written last."""
        return self.run.folder.path / "trials" / f"{self.task}-seed-{self.seed}.json"

    @property
    def artefacts(self) -> Path:
        """Folder of the kept candidates."""
        return self.run.folder.artefacts(self.task, self.seed)

    def artefact(self, number: int) -> Path:
        """Return the folder of one kept candidate."""
        return self.run.folder.artefact(self.task, self.seed, number)

    def finish(self) -> Outcome:
        """Run the trial, or read its record if it is already complete.

        Raises:
            MethodError: the method yielded no candidate that could be scored.
            CanonbenchError: something outside the method failed, such as a full disk.
        """
        if not self.record.is_file():
            choice = self._on_val() if self.caps is None else self._on_test(self.caps)
            self._drop(lambda number: self._is_kept(number, choice))
            self._write(choice)
        content = read_json(self.record)
        try:
            found, choice = [Candidate(**each) for each in content["candidates"]], dict(content["choice"])
        except (KeyError, TypeError, ValueError) as error:
            raise CanonbenchError(f"{self.record} is damaged; delete it and run the same command again") from error
        examples = self.record.with_suffix(".parquet")
        return Outcome(found, choice, [read_parquet(examples)] if examples.is_file() else [])

    def _on_val(self) -> dict[str, int]:
        """Score every candidate as it is yielded. Chosen ones are loaded from disk again and must be unchanged."""
        base = self.run.fresh_base()
        skeleton = Skeleton(base.model)

        def use(trained: Trained) -> None:
            with as_scored(trained.model) as model:
                mark = self.run.prepare(model, base)
                self._prove(trained, model, skeleton)
                self._measure(trained, model, mark)
            choice = self._choose()
            if trained.number in self.scored and self._is_needed(trained.number, choice):
                try:
                    self._save(trained, base)
                except NotKept:
                    del self.scored[trained.number]
                    raise
            self._drop(lambda number: self._is_needed(number, choice))

        self._train(base, use)
        self._require_edit(self.scored)
        free(base)
        choice = self._choose()
        for number in sorted(set(choice.values()) - {UNEDITED}):
            self._open(number)
        return choice

    def _require_edit(self, found: Mapping[int, object]) -> None:
        if not found:
            raise MethodError(f"{self.name}: the method yielded nothing but the unedited model: there is no edit")

    def _choose(self) -> dict[str, int]:
        found = [each.candidate for each in self.scored.values() if each.candidate.success is not None]
        return choose_on_val([Judged(each.number, each.ratio, each.success or 0.0) for each in found], self.protocol)

    def _on_test(self, chosen: Mapping[str, int]) -> dict[str, int]:
        """Train up to the latest allowed candidate, then score from it downwards until every league is decided."""
        trained = self._kept_candidates(max(chosen.values()))
        caps = {label: min(number, max(trained, default=UNEDITED)) for label, number in chosen.items()}
        ratios: dict[int, float] = {}
        while (number := next_to_measure(ratios, caps, self.protocol)) is not None:
            ratios[number] = math.inf
            if number in trained:
                self._measure_kept(trained[number])
            if number in self.scored and not self.scored[number].candidate.rejected:
                ratios[number] = self.scored[number].candidate.ratio
        return choose_on_test(ratios, caps, self.protocol)

    def _measure_kept(self, trained: Trained) -> None:
        """Score a kept candidate. One that changed since it was yielded, or is not finite, is in no league."""
        try:
            model, base = self._open(trained.number)
            with self._blaming_the_method(trained.number):
                self._measure(trained, model, self.run.prepare(model, base))
        except MethodError as error:
            self.run.progress.say(f"{error}; it is in no league")

    def _kept_candidates(self, last: int) -> dict[int, Trained]:
        """Return the candidates up to ``last``, each saved on disk and without its model."""
        found: dict[int, Trained] = {}
        if last == UNEDITED:
            return found
        base = self.run.fresh_base()
        skeleton = Skeleton(base.model)

        def use(trained: Trained) -> None:
            with as_scored(trained.model) as model:
                unedited = self.run.prepare(model, base).key == self.run.base.fingerprint.key
                self._prove(trained, model, skeleton)
            if not unedited:
                self._save(trained, base)
                found[trained.number] = replace(trained, model=None)

        self._train(base, use, last)
        self._require_edit(found)
        free(base)
        return found

    def _prove(self, trained: Trained, model: Any, skeleton: Skeleton) -> None:
        """Record a candidate's outputs, and check that they come from its weights.

        Unmerged adapters and other wrappers are checked only when their saved artefact is loaded.
        """
        sequences = self.run.first_sequences()
        try:
            with foreign("it cannot be run"):
                self.answers[trained.number] = own = answers(model, sequences)
                apart = differ(own, skeleton.answers(model, sequences)) if skeleton.fits(model) else 0.0
        except CanonbenchError as error:
            raise MethodError(str(error)) from error
        if apart:
            raise MethodError(
                f"an artefact keeps weights alone and would lose {skeleton.lost(model)}, which moves scores by up to "
                f"{apart:.1e} nats; let the method change nothing else"
            )

    def _open(self, number: int) -> tuple[Any, LoadedModel]:
        """Load a kept candidate and its base, and check that it is the model that the method yielded.

        Raises:
            MethodError: it is a different model.
        """
        base = self.run.fresh_base()
        model = open_artefact(self.artefact(number), base).model
        with self._blaming_the_method(number):
            if apart := differ(answers(model, self.run.first_sequences()), self.answers[number]):
                raise MethodError(
                    f"what is kept of it, opened again, scores otherwise, by up to {apart:.1e} nats: something besides "
                    "its weights was changed, such as a hook or a setting, which no artefact holds"
                )
        return model, base

    def _train(self, base: LoadedModel, use: Callable[[Trained], None], last: int | None = None) -> None:
        """Run the method and pass each candidate to ``use``, until it ends, fails, or yields candidate ``last``.

        Raises:
            MethodError: the method failed before its first candidate.
        """
        progress = self.run.progress
        listener = Listener(lambda step, steps, loss: progress.training(self.name, step, steps, loss))
        request = replace(self.run.request(self.task, self.seed), report=listener)
        used = 0
        try:
            with closing(candidates(self.run.method, base, request, listener, self.name)) as found:
                for trained in found:
                    with self._blaming_the_method(trained.number):
                        require_candidate(trained.model, base, self.run.base.vocabulary)
                        if trained.model.training:
                            progress.say(
                                f"{self.name} candidate {trained.number}: in training mode; scored without dropout"
                            )
                        use(trained)
                    used = trained.number
                    if used == last:
                        break
        except MethodError as error:
            if not used:
                raise
            progress.say(f"{error}; {used} before it count" if used > 1 else f"{error}; the one before it counts")

    @contextmanager
    def _blaming_the_method(self, number: int) -> Iterator[None]:
        try:
            yield
        except (MethodError, NotFinite, NotKept) as error:
            raise MethodError(f"{self.name} candidate {number}: {error}") from error

    def _measure(self, trained: Trained, model: Any, mark: Fingerprint) -> None:
        scored = self.run.measure(self.task, self.seed, trained, model, mark)
        if scored is None:
            self.run.progress.say(f"{self.name} candidate {trained.number}: the unedited model")
            return
        self.scored[trained.number] = scored
        self.run.progress.say(told(scored.candidate, *self.run.base_numbers(self.task)))

    def _save(self, trained: Trained, base: LoadedModel) -> None:
        record: dict[str, Any] = {
            "method": self.run.method.name,
            "hyperparameters": self.run.hyperparameters,
            "task": self.task,
            "split": self.run.asked.split,
            "seed": self.seed,
            "candidate": trained.number,
        }
        folder = self.artefact(trained.number)
        if not is_artefact(folder):
            remove_folder(folder)  # a partial artefact, left when an older version was killed
        save_artefact(
            trained.model,
            folder,
            base=base.source,
            base_fingerprint=self.run.base.fingerprint,
            record=record,
        )

    def _is_kept(self, number: int, choice: Mapping[str, int]) -> bool:
        return {"all": True, "best": number in choice.values(), "none": False}[self.run.keep]

    def _is_needed(self, number: int, choice: Mapping[str, int]) -> bool:
        """Return whether a candidate must stay on disk during the trial: chosen ones are loaded again at the end."""
        return number in choice.values() or self._is_kept(number, choice)

    def _drop(self, is_called_for: Callable[[int], bool]) -> None:
        """Delete the candidates that are no longer needed, and partial ones left by a killed run."""
        clear_leftovers(self.artefacts)
        for folder in self.artefacts.glob("candidate-*"):
            number = folder.name.removeprefix("candidate-")
            if number.isdecimal() and not is_called_for(int(number)):
                remove_folder(folder)

    def _write(self, choice: Mapping[str, int]) -> None:
        """Write the examples first and the record last, so that the record's existence means completion."""
        chosen = sorted({number for number in choice.values() if number != UNEDITED})
        self.record.parent.mkdir(exist_ok=True)
        if chosen:
            columns = concatenate([self.run.columns(self.task, self.seed, n, self.scored[n].measured) for n in chosen])
            self.run.folder.write_whole(self.record.with_suffix(".parquet"), lambda part: write_parquet(columns, part))
        found = [
            asdict(replace(each.candidate, chosen=[label for label, number in choice.items() if number == n]))
            for n, each in sorted(self.scored.items())
        ]
        content = json.dumps({"candidates": found, "choice": dict(choice)}, indent=1) + "\n"
        self.run.folder.write_whole(self.record, lambda part: part.write_text(content, encoding="utf-8"))


def told(candidate: Candidate, base_success: float, base_hard: float) -> str:
    """Describe a candidate in one line."""
    what = f"{candidate.task} seed {candidate.seed} candidate {candidate.number}"
    if candidate.rejected:
        return f"{what}: ratio above {candidate.ratio:.4f}, in no league"
    leagues = ", ".join(label for label, inside in candidate.leagues.items() if inside)
    if candidate.success is None or candidate.hard_negatives is None:
        return f"{what}: ratio {candidate.ratio:.7f}, in no league"
    return (
        f"{what}: ratio {candidate.ratio:.7f} (in {leagues}), "
        f"success {candidate.success:.2f} % ({candidate.success - base_success:+.2f}), "
        f"hard negatives {candidate.hard_negatives - base_hard:+.4f} nats"
    )
