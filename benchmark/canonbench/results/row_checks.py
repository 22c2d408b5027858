"""Check that the fields of a row are consistent; a row that fails cannot be constructed.

The file also holds the record of a merged model: what it was merged from, and what each task lost in the merge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from canonbench.results.row_results import LeagueName, Number, Part, TaskResult

if TYPE_CHECKING:
    from canonbench.results.row import Row
    from canonbench.results.row_results import Average, Change, TaskResult


MERGE_ROUNDING = 2e-6  # of three numbers with six decimals


class MergedTask(Part):
    """A task for which an edit was merged."""

    own_delta: Number | None
    """Δ success of that edit by itself, points, as the row of its run says; null if that is unknown or was measured on
    other data or by other rules than this row."""
    against_own: Number | None
    """Δ success of the merged model − own_delta, points: negative is what the task lost. Null without own_delta, or if
    the task is not in this row."""


class Merged(Part):
    """How the evaluated model was merged."""

    how: Literal["mean", "union", "ties", "dare"]
    """See docs/how-to/merging.md."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Of the edits, by name; one, as a rule."""
    league: LeagueName | None
    """Whose candidates were merged; null if they were chosen in another way."""
    edits: Annotated[dict[str, MergedTask], Field(min_length=1)]
    """By task."""
    unedited: tuple[str, ...]
    """Tasks that had no candidate in that league and have no part in the merge."""


def merged_problems(merged: Merged, tasks: Mapping[str, TaskResult]) -> Iterator[str]:
    """List where ``merged`` contradicts the row's tasks, one line each."""
    for name, edit in merged.edits.items():
        delta = tasks[name].success.delta if name in tasks else None
        expected = None if edit.own_delta is None or delta is None else delta - edit.own_delta
        found = edit.against_own
        if (found is None) != (expected is None):
            yield f"merged.edits.{name}: against_own comes with own_delta and the task's own delta"
        elif found is not None and expected is not None and abs(found - expected) > MERGE_ROUNDING:
            yield f"merged.edits.{name}.against_own: {found} is not {delta} - {edit.own_delta}"


ROUNDING = 2e-6  # of edited − base against delta, when all three are rounded to six decimals


class _Group(NamedTuple):
    """Tasks that are averaged together, and their place in the row."""

    where: str
    tasks: Mapping[str, TaskResult]
    average: Average


class _Place(NamedTuple):
    """A change, its place in the row, and whether it must have an interval if there is a base."""

    where: str
    change: Change
    needs_interval: bool


def first_problem(row: Row) -> str | None:
    """Return the first problem of the row as a whole in one line, or None.

    Reported rows may lack numbers that a publication does not give; all other rows must be complete.
    """
    checks = [_kind, _on_the_board, _averages, _without_base if row.base is None else _with_base]
    if row.state != "reported":
        checks.append(_measured)
    if row.merged is not None:
        checks.append(_merged)
    return next((problem for check in checks for problem in check(row)), None)


def _kind(row: Row) -> Iterator[str]:
    if (row.tasks is None) == (row.leagues is None):
        yield "a row has either tasks (a fixed checkpoint) or leagues (an edit run)"
    if (row.tasks is None) != (row.average is None):
        yield "tasks and average come together"
    if row.tasks is not None:
        if row.track == "per-task" and len(row.tasks) > 1:
            yield "track: one checkpoint scored on several tasks is joint, not per-task"
        if row.general is not None and row.general.edited is None:
            yield "general.edited: missing"
    elif row.method is None or row.base is None or row.general is None:
        yield "an edit run has a method, a base and general text"
    elif row.general.edited is not None or row.general.ratio is not None:
        yield "general.edited and general.ratio: null in an edit run, each candidate's ratio stands in leagues"


def _merged(row: Row) -> Iterator[str]:
    if row.merged is None or row.tasks is None or row.base is None:
        yield "merged: only a checkpoint that is compared with its base is a merged one"
    else:
        yield from merged_problems(row.merged, row.tasks)


def _on_the_board(row: Row) -> Iterator[str]:
    if row.state in {"submitted", "reproduced"}:
        for name in ("submission", "examples"):
            if getattr(row, name) is None:
                yield f"{name}: missing; a {row.state} row names its folder and its per-example values"
    elif row.examples is not None:
        yield f"examples: a {row.state} row has none of its own on the board"


def _averages(row: Row) -> Iterator[str]:
    for group in _groups(row):
        if group.average.tasks != tuple(group.tasks):
            yield f"{group.where}average.tasks: must list the tasks in their order: {', '.join(group.tasks)}"


def _without_base(row: Row) -> Iterator[str]:
    if row.fingerprints.base is not None:
        yield "fingerprints.base: there is no base"
    for place in _places(row):
        if place.change.base is not None:
            yield f"{place.where}.base: there is no base"
    if row.general is not None:
        compared = row.general.model_dump(include={"base", "ratio", "ratio_ci", "straddles", "noise_floor"})
        for name, value in {**compared, **row.general.leagues}.items():
            if value is not None:
                yield f"general.{name}: there is no base to compare with"


def _with_base(row: Row) -> Iterator[str]:
    for place in _places(row):
        base, edited, delta = place.change.base, place.change.edited, place.change.delta
        if base is None or delta is None:
            yield f"{place.where}: the row has a base, so base and delta are needed"
        elif row.state != "reported" and abs(delta - (edited - base)) > ROUNDING:
            yield f"{place.where}.delta: {delta} is not edited - base = {edited} - {base}"


def _measured(row: Row) -> Iterator[str]:
    always = ("device", "seconds", "peak_memory_bytes")
    needed: dict[str, object] = {name: getattr(row, name) for name in always}
    needed |= {"versions": row.versions or None, "suite.data_hash": row.suite.data_hash}
    if row.tasks is not None:
        needed["fingerprints.model"] = row.fingerprints.model
    if row.base is not None:
        needed["fingerprints.base"] = row.fingerprints.base
        for place in _places(row):
            if place.needs_interval and place.change.delta != 0:
                needed[f"{place.where}.ci"] = getattr(place.change, "ci", None)
    needed |= _measured_general(row) | _measured_tasks(row)
    for where, value in needed.items():
        if value is None:
            yield f"{where}: missing; only a reported row may lack it"


def _measured_general(row: Row) -> dict[str, object]:
    general = row.general
    if general is None:
        return {}
    names = ["data_hash", "n_chunks", "n_tokens"]
    if row.base is not None:
        names += ["base", "noise_floor"]
        if row.tasks is not None:
            names += ["ratio"] if general.n_chunks == 1 or general.ratio == 1 else ["ratio", "ratio_ci", "straddles"]
    needed = {f"general.{name}": getattr(general, name) for name in names}
    if row.base is not None and row.tasks is not None:
        needed |= {f"general.leagues.{league}": verdict for league, verdict in general.leagues.items()}
    return needed


def _measured_tasks(row: Row) -> dict[str, object]:
    needed: dict[str, object] = {}
    for where, tasks, _ in _groups(row):
        for name, task in tasks.items():
            needed[f"{where}tasks.{name}.n_subjects"] = task.n_subjects
            if task.hard_negatives is not None:
                needed[f"{where}tasks.{name}.hard_negatives.n_subjects"] = task.hard_negatives.n_subjects
            if row.leagues is not None:
                for field in ("ratio", "membership", "seeds"):
                    needed[f"{where}tasks.{name}.{field}"] = getattr(task, field)
    return needed


def _groups(row: Row) -> Iterator[_Group]:
    if row.tasks is not None and row.average is not None:
        yield _Group("", row.tasks, row.average)
    for name, league in (row.leagues or {}).items():
        yield _Group(f"leagues.{name}.", league.tasks, league.average)


def _places(row: Row) -> Iterator[_Place]:
    for where, tasks, average in _groups(row):
        for name, task in tasks.items():
            yield _Place(f"{where}tasks.{name}.success", task.success, task.n_subjects != 1)
            if task.clean is not None:
                yield _Place(f"{where}tasks.{name}.clean", task.clean, False)
            if task.hard_negatives is not None:
                several = task.hard_negatives.n_subjects != 1
                yield _Place(f"{where}tasks.{name}.hard_negatives", task.hard_negatives, several)
        yield from _average_places(where, tasks, average)


def _average_places(where: str, tasks: Mapping[str, TaskResult], average: Average) -> Iterator[_Place]:
    single = any(task.n_subjects == 1 for task in tasks.values())
    yield _Place(f"{where}average.success", average.success, not single)
    if average.clean is not None:
        yield _Place(f"{where}average.clean", average.clean, False)
    if average.hard_negatives is not None:
        single = any(task.hard_negatives is None or task.hard_negatives.n_subjects == 1 for task in tasks.values())
        yield _Place(f"{where}average.hard_negatives", average.hard_negatives, not single)
