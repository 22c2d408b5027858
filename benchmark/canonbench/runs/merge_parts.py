"""How edits are to be merged: what was asked for, held against what it means for edits of their kind.

What was merged: the part of ``canonbench_edit.json`` that says so, under ``merged``.

The edits to merge: what the leagues of finished runs chose, and artefacts that are named themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from canonbench.editing import Merging
from canonbench.errors import LARGEST_COUNT, LARGEST_SEED, CanonbenchError, UsageError, require_whole, unknown_name
from canonbench.models import EditFile
from canonbench.models import folders as files
from canonbench.records import validated
from canonbench.results import LeagueTask, Row
from canonbench.runs.folder import RunFolder
from canonbench.suite import TASKS

HOWS: dict[str, tuple[How, ...]] = {
    "delta": ("mean", "ties", "dare"),
    "peft": ("mean", "ties", "dare"),
    "senses": ("union",),
}
"""What edits of each kind can be merged by, the default first."""
LEAGUE = "1e-3"
"""Whose candidates are taken from runs when nobody says: the widest, in which most tasks have one."""
DENSITY = 0.2
"""Share of the changes that ``ties`` and ``dare`` keep when nobody says (Yadav et al. 2023, section 4)."""


class Options(NamedTuple):
    """As given; None where nothing was."""

    how: str | None = None
    league: str | None = None
    edit_seed: int | None = None
    density: float | None = None
    rank: int | None = None
    seed: int | None = None


class Resolved(NamedTuple):
    """As meant; None where it means nothing."""

    how: How
    density: float | None
    rank: int | None
    seed: int | None
    league: str | None

    @property
    def merging(self) -> Merging:
        """For tensors and adapters."""
        assert self.how != "union", "senses have their own"
        return Merging(self.how, 1.0 if self.density is None else self.density)


def require_possible(options: Options) -> None:
    """What can be told before anything is read.

    Raises:
        UsageError: an unknown way to merge, or a number that is out of range.
    """
    every = sorted({how for hows in HOWS.values() for how in hows})
    if options.how is not None and options.how not in every:
        raise unknown_name("--how", options.how, every)
    if options.density is not None and not 0 < options.density <= 1:
        raise UsageError(f"--density must be above 0 and at most 1, got {options.density}")
    for name, given, least, most in (
        ("--rank", options.rank, 1, LARGEST_COUNT),
        ("--seed", options.seed, 0, LARGEST_SEED),
        ("--edit-seed", options.edit_seed, 0, LARGEST_SEED),
    ):
        if given is not None:
            require_whole(name, given, least, most)


def resolved(options: Options, kind: str, *, from_runs: bool) -> Resolved:
    """The options with their defaults, for edits of a kind.

    Raises:
        UsageError: an option that means nothing here.
        CanonbenchError: edits of this kind cannot be merged.
    """
    if kind not in HOWS:
        raise CanonbenchError(f"{kind} edits cannot be merged: they change no weights")
    how = next((each for each in HOWS[kind] if options.how in (None, each)), None)
    if how is None:
        raise UsageError(f"--how {options.how} is not for edits of kind {kind}; give {' or '.join(HOWS[kind])}")
    drops = how in ("ties", "dare")
    for name, given, meant in (
        ("--density", options.density, drops or f"{how} drops no changes"),
        ("--seed", options.seed, how == "dare" or "only dare draws at random"),
        ("--rank", options.rank, kind == "peft" or f"edits of kind {kind} have none"),
        ("--league", options.league, from_runs or "it chooses from runs, and only artefacts are given"),
        ("--edit-seed", options.edit_seed, from_runs or "it chooses from runs, and only artefacts are given"),
    ):
        if given is not None and meant is not True:
            raise UsageError(f"{name}: {meant}; leave it out")
    return Resolved(
        how=how,
        density=(DENSITY if options.density is None else options.density) if drops else None,
        rank=options.rank,
        seed=(options.seed or 0) if how == "dare" else None,
        league=(options.league or LEAGUE) if from_runs else None,
    )


KEY = "merged"
How = Literal["mean", "union", "ties", "dare"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class OwnResult(_Part):
    """What an edit bought on its task before it was merged, as the row of its run says."""

    delta: float
    """Change in success of the very model that was merged, points."""
    group: dict[str, JsonValue]
    """The row's comparable group: which data, by which rules."""


class MergedEdit(_Part):
    """One of the edits."""

    task: str
    """Which it was trained on."""
    method: str
    """That made it."""
    hyperparameters: dict[str, JsonValue]
    """Of the method."""
    split: str
    """Whose canonical examples it was trained on."""
    seed: int
    """Of its training."""
    candidate: int
    """Which of that training's candidates, counted from 1."""
    fingerprint: str
    """SHA-256 over the weights of the edited model."""
    run: str | None
    """The run folder, as it was given; null for an artefact that was named itself."""
    own: OwnResult | None
    """Null for an artefact that was named itself."""


class MergeRecord(_Part):
    """The whole of it."""

    how: How
    """See docs/how-to/merging.md."""
    density: float | None
    """Share of the changes kept; null where all are."""
    rank: int | None
    """Asked for, of a merged adapter; null if none was."""
    seed: int | None
    """Of what was dropped at random; null where nothing was."""
    league: str | None
    """Whose candidates were taken from runs; null without runs."""
    edits: list[MergedEdit]
    """One per task."""
    unedited: list[str]
    """Tasks of the runs that have no candidate in that league."""


def record_of(edit: EditFile) -> MergeRecord | None:
    """What an artefact was merged from; None if it was not merged.

    Raises:
        CanonbenchError: the record is damaged.
    """
    if KEY not in edit.record:
        return None
    return validated(MergeRecord, edit.record[KEY], f"canonbench_edit.json is damaged: {KEY}")


class Part(NamedTuple):
    """One edit of one task."""

    folder: Path
    """The artefact."""
    edit: EditFile
    said: MergedEdit


class Parts(NamedTuple):
    """All of them, in the standard order of their tasks, whatever the order in which they were given."""

    parts: list[Part]
    unedited: list[str]
    """Tasks that have no candidate in the league."""


def is_run(given: Path) -> bool:
    """Whether this is a run folder rather than an artefact.

    Raises:
        UsageError: there is no such folder.
        CanonbenchError: it is neither.
    """
    if not given.is_dir():
        raise UsageError(f"{given}: no such folder; give edit runs, or artefacts that they kept")
    if (given / files.EDIT_FILE).is_file():
        return False
    if not RunFolder(given).row_path.is_file():
        raise CanonbenchError(f"{given} holds neither a finished run (row.json) nor an artefact ({files.EDIT_FILE})")
    return True


def read_parts(given: Iterable[Path], league: str, seed: int) -> Parts:
    """The edits that runs and artefacts stand for.

    Args:
        given: run folders and artefacts.
        league: whose candidates are taken from the runs.
        seed: whose, where a run repeated its tasks with several.

    Raises:
        UsageError: a run has no such league or seed.
        CanonbenchError: a run is no edit run or kept no artefact, an artefact does not say what it is, a task is there
            twice, or no task was edited.
    """
    parts: dict[str, Part] = {}
    unedited: dict[str, Path] = {}
    for path in given:
        found = _of_run(path, league, seed) if is_run(path) else iter([(None, _of_artefact(path))])
        for idle, part in found:
            task = part.said.task if part is not None else str(idle)
            if task in parts or task in unedited:
                raise CanonbenchError(f"{path} has task {task!r} as well; give every task once")
            if part is None:
                unedited[task] = path
            else:
                parts[task] = part
    if not parts:
        raise CanonbenchError(f"no task was edited in league {league}: there is nothing to merge")
    return Parts([parts[task] for task in in_order(parts)], in_order(unedited))


def in_order(tasks: Iterable[str]) -> list[str]:
    """The standard tasks in their order, then others by name."""
    names = set(tasks)
    return [*(name for name in TASKS if name in names), *sorted(names - set(TASKS))]


def require_alike(parts: Sequence[Part]) -> None:
    """CanonbenchError unless all are edits of one base, of one kind; what differs is named."""
    first, *others = parts
    for other in others:
        for what, one, two in (
            ("base", first.edit.base.fingerprint, other.edit.base.fingerprint),
            ("kind", first.edit.kind, other.edit.kind),
            ("dtype", first.edit.dtype, other.edit.dtype),
        ):
            if one != two:
                told = "" if what == "base" else f" ({one} and {two})"
                raise CanonbenchError(
                    f"{first.folder} and {other.folder} cannot be merged: they differ in their {what}{told}"
                )


def _of_run(path: Path, league: str, seed: int) -> Iterator[tuple[str | None, Part | None]]:
    """Per task of a run its edit, or the task's name where the league took none."""
    row = RunFolder(path).row()
    if row.leagues is None:
        raise CanonbenchError(f"{path} is no edit run, so it has no candidates to merge")
    if league not in row.leagues:
        raise unknown_name("league", league, row.leagues, where=f"of {path}")
    for task, result in row.leagues[league].tasks.items():
        taken = {each.seed: each for each in result.seeds or ()}
        if seed not in taken:
            raise UsageError(f"{path} has no seed {seed} of {task}, only {', '.join(map(str, taken))}")
        number = taken[seed].candidate
        if number is None:
            yield task, None
            continue
        folder = RunFolder(path).artefact(task, seed, number)
        if not (folder / files.EDIT_FILE).is_file():
            raise CanonbenchError(
                f"{path} does not hold candidate {number} of {task} (was it run with --keep none?); "
                "repeat the run in a new folder with --keep best"
            )
        part = _of_artefact(folder)
        said = part.said.model_copy(update={"run": str(path), "own": _own(row, result, taken[seed].success)})
        yield None, part._replace(said=said)


def _of_artefact(folder: Path) -> Part:
    edit = EditFile.read(folder)
    said = validated(
        MergedEdit,
        {**edit.record, "fingerprint": edit.fingerprint.weights, "run": None, "own": None},
        f"{folder} is not what an edit run kept of one task: {files.EDIT_FILE}: record",
    )
    return Part(folder, edit, said)


def _own(row: Row, result: LeagueTask, success: float) -> OwnResult | None:
    if result.success.base is None:
        return None
    return OwnResult(delta=success - result.success.base, group=row.comparable_group._asdict())
