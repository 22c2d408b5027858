"""The inputs of a merge: its options, the edits to merge, and the record of both.

``Options`` are resolved for the kind of edit. The edits come from the league choices of finished runs, or are
artefacts given by path. ``MergeRecord`` is the ``merged`` part of ``canonbench_edit.json``.
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
"""The ways to merge each kind of edit, default first."""
LEAGUE = "1e-3"
"""Default league whose candidates are taken from runs: the widest one, where most tasks have an edit."""
DENSITY = 0.2
"""Default share of the changes that ``ties`` and ``dare`` keep (Yadav et al. 2023, section 4)."""


class Options(NamedTuple):
    """Merge options as the user gave them; None where not given."""

    how: str | None = None
    league: str | None = None
    edit_seed: int | None = None
    density: float | None = None
    rank: int | None = None
    seed: int | None = None


class Resolved(NamedTuple):
    """Merge options with defaults filled in; None where an option does not apply."""

    how: How
    density: float | None
    rank: int | None
    seed: int | None
    league: str | None

    @property
    def merging(self) -> Merging:
        """The options for merging tensors and adapters."""
        assert self.how != "union", "senses have their own"
        return Merging(self.how, 1.0 if self.density is None else self.density)


def require_possible(options: Options) -> None:
    """Check the options before anything is read.

    Raises:
        UsageError: an unknown way to merge, or a number out of range.
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
    """Fill in the defaults of the options for edits of the given kind.

    Raises:
        UsageError: an option that does not apply.
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
    """The result of an edit on its task before the merge, taken from the row of its run."""

    delta: float
    """Change in success of the model that was merged, in percentage points."""
    group: dict[str, JsonValue]
    """The row's comparable group: its data and rules."""


class MergedEdit(_Part):
    """One edit that went into the merge."""

    task: str
    """The task that the edit was trained on."""
    method: str
    """The editing method."""
    hyperparameters: dict[str, JsonValue]
    """The method's hyperparameters."""
    split: str
    """The split whose canonical examples it was trained on."""
    seed: int
    """The seed of its training."""
    candidate: int
    """The number of the candidate in that training, counted from 1."""
    fingerprint: str
    """SHA-256 of the edited model's weights."""
    run: str | None
    """The run folder, as given; null for an artefact given by path."""
    own: OwnResult | None
    """The edit's own result; null for an artefact given by path."""


class MergeRecord(_Part):
    """The record of a merge."""

    how: How
    """The way of merging; see docs/how-to/merging.md."""
    density: float | None
    """Share of the changes kept; null if all are."""
    rank: int | None
    """The requested rank of a merged adapter; null if none was requested."""
    seed: int | None
    """Random seed of the dropped changes; null if nothing was dropped at random."""
    league: str | None
    """The league whose candidates were taken from runs; null without runs."""
    edits: list[MergedEdit]
    """The merged edits, one per task."""
    unedited: list[str]
    """Tasks of the runs without a candidate in that league."""


def record_of(edit: EditFile) -> MergeRecord | None:
    """Return the record of what an artefact was merged from; None if it was not merged.

    Raises:
        CanonbenchError: the record is damaged.
    """
    if KEY not in edit.record:
        return None
    return validated(MergeRecord, edit.record[KEY], f"canonbench_edit.json is damaged: {KEY}")


class Part(NamedTuple):
    """One edit of one task, to be merged."""

    folder: Path
    """The artefact's folder."""
    edit: EditFile
    said: MergedEdit


class Parts(NamedTuple):
    """All edits to merge, in the standard order of their tasks, whatever order they were given in."""

    parts: list[Part]
    unedited: list[str]
    """Tasks without a candidate in the league."""


def is_run(given: Path) -> bool:
    """Return whether ``given`` is a run folder rather than an artefact.

    Raises:
        UsageError: the folder does not exist.
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
    """Collect the edits to merge from runs and artefacts.

    Args:
        given: run folders and artefacts.
        league: the league whose chosen candidates are taken from the runs.
        seed: the repetition to take from runs with several seeds.

    Raises:
        UsageError: a run does not have this league or seed.
        CanonbenchError: a run is not an edit run or kept no artefact, an artefact's record is incomplete, a task occurs
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
    """Sort tasks: the standard ones in their own order, then others by name."""
    names = set(tasks)
    return [*(name for name in TASKS if name in names), *sorted(names - set(TASKS))]


def require_alike(parts: Sequence[Part]) -> None:
    """Raise CanonbenchError unless all are edits of one kind of the same base; the message names what differs."""
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
    """Return for each task of a run its edit, or the task's name if no candidate was chosen in the league."""
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
