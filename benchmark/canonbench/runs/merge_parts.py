"""The edits to merge: what the leagues of finished runs chose, and artefacts that are named themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import LeagueTask
from canonbench.models import files
from canonbench.models.edit_file import EditFile
from canonbench.records import validated
from canonbench.runs.folder import RunFolder
from canonbench.runs.merge_record import MergedEdit, OwnResult
from canonbench.suite.tasks import TASKS


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
