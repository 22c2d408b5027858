"""Compare two finished runs on the tasks and examples that they share, and write the comparison as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.results import ChangedRow, Comparison, Finished, Row, TaskComparison, read_finished, sides
from canonbench.results import compare as compare_sides
from canonbench.suite import Example, Suite


@dataclass(frozen=True)
class Compared:
    """The comparison of two runs."""

    first: Finished
    second: Finished
    league: str | None
    """The league whose candidates represent an edit run; None if neither run is one."""
    others: tuple[str, ...]
    """The other leagues that could be compared."""
    comparison: Comparison
    shown: int
    """Number of flips to show per task, largest change in loss first."""
    texts: Mapping[str, Mapping[int, Example]]
    """Examples of the shown flips, by task and index; empty if the suite is not available."""
    notes: tuple[str, ...]
    """What was left out of the comparison, and why."""

    def shown_flips(self, task: str) -> tuple[ChangedRow, ...]:
        """Return the task's flips with the largest change in loss."""
        return self.comparison.tasks[task].flips[: self.shown]

    def repetitions(self, run: Finished) -> int:
        """Return the largest number of repetitions that any of the run's numbers is a mean over."""
        if not run.leagues or self.league is None:
            return 1
        return max(len(run.taken(task, self.league)) for task in self.comparison.tasks)

    def to_json(self) -> str:
        """Return the comparison as JSON text, ending in a newline."""
        whole = self.comparison
        content = {
            "first": self._reference(self.first),
            "second": self._reference(self.second),
            "league": self.league,
            "general_measure": whole.measure,
            "tasks": {name: self._task(name, task) for name, task in whole.tasks.items()},
            "average": {
                "success": asdict(whole.success),
                "hard_negatives": asdict(whole.hard_negatives) if whole.hard_negatives else None,
            },
            "notes": self.notes,
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _reference(self, run: Finished) -> dict[str, Any]:
        row = run.row
        base = row.base.name if row.base else None
        known = {"path": run.path, "model": row.model.name, "base": base, "method": row.method}
        return {**known, "repetitions": self.repetitions(run)}

    def _task(self, name: str, task: TaskComparison) -> dict[str, Any]:
        flips = self.shown_flips(name)
        content = asdict(task) | {"only_first": task.only("first"), "only_second": task.only("second")}
        content["flips"] = [self._flip(name, flip) for flip in flips]
        return {**content, "flips_left_out": len(task.flips) - len(flips)}

    def _flip(self, task: str, flip: ChangedRow) -> dict[str, Any]:
        text = self.texts.get(task, {}).get(flip.index)
        scores = {"first": flip.first._asdict(), "second": flip.second._asdict()}
        return asdict(flip) | scores | {"text": text._asdict() if text else None}


FLIPS = 20
"""Default number of flips to show per task."""


def compare(
    first: str | Path,
    second: str | Path,
    *,
    tasks: str | Iterable[str] | None = None,
    league: str | None = None,
    suite: str | Path | None = None,
    flips: int = FLIPS,
) -> Compared:
    """Compare two finished runs of one comparable group.

    Args:
        first: a run folder, or a row file with examples.parquet beside it.
        second: likewise; differences are second − first.
        tasks: names, or names separated by commas; None for all tasks that both runs have.
        league: the league whose candidates represent an edit run. None for the tightest common league in which either
            run has an edited model (in tighter ones the unedited model would be compared with itself).
        suite: source of the example texts; None for the suite that the rows name, if it is available.
        flips: number of examples with a changed outcome to show per task.

    Raises:
        UsageError: an unknown task, league or suite, or a league although neither run has leagues.
        CanonbenchError: the runs cannot be compared, or one of them is damaged.
    """
    one, two = read_finished(first), read_finished(second)
    _require_comparable(one, two)
    leagues = _shared_leagues(one, two)
    chosen_tasks, notes = _tasks(one, two, leagues[0] if leagues else None, tasks)
    chosen = _league(one, two, leagues, league, chosen_tasks)
    before, after = (sides(run, chosen if run.leagues else None, chosen_tasks) for run in (one, two))
    thresholds = {name: one.results(chosen)[name].threshold for name in chosen_tasks}
    comparison = compare_sides(before, after, thresholds)
    wanted = {name: [flip.index for flip in task.flips[:flips]] for name, task in comparison.tasks.items()}
    texts, lack = _texts(one.row, suite, wanted)
    notes += lack
    notes += _left_unedited(one, two, chosen, chosen_tasks)
    others = tuple(label for label in leagues if label != chosen)
    return Compared(one, two, chosen, others, comparison, flips, texts, tuple(notes))


def _require_comparable(one: Finished, two: Finished) -> None:
    groups = one.row.comparable_group._asdict(), two.row.comparable_group._asdict()
    differing = [
        f"{name.replace('_', ' ')} ({_short(groups[0][name])} and {_short(groups[1][name])})"
        for name in groups[0]
        if groups[0][name] != groups[1][name]
    ]
    if differing:
        raise CanonbenchError(f"{one.path} and {two.path} cannot be compared; they differ in {', '.join(differing)}")


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # the first 12 digits identify a SHA-256


def _shared_leagues(one: Finished, two: Finished) -> list[str]:
    """Return the leagues to choose from, tightest first; empty if neither run is an edit run."""
    if one.leagues and two.leagues:
        shared = [label for label in one.leagues if label in two.leagues]
        if not shared:
            raise CanonbenchError(f"{one.path} and {two.path} have no league in common")
        return shared
    return one.leagues or two.leagues


def _league(one: Finished, two: Finished, shared: list[str], wanted: str | None, tasks: list[str]) -> str | None:
    if not shared:
        if wanted is not None:
            raise UsageError("--league: neither is an edit run, so neither has leagues to choose from")
        return None
    if wanted is not None:
        if wanted not in shared:
            raise unknown_name("league", wanted, shared, where="of these runs")
        return wanted
    runs = [run for run in (one, two) if run.leagues]
    edited = (label for label in shared if any(_unedited(run, label, tasks) != tasks for run in runs))
    return next(edited, shared[0])


def _unedited(run: Finished, league: str, tasks: list[str]) -> list[str]:
    """Return the tasks for which the edit run chose the unedited model in ``league`` with every seed."""
    return [task for task in tasks if not any(run.taken(task, league).values())]


def _left_unedited(one: Finished, two: Finished, league: str | None, tasks: list[str]) -> list[str]:
    """Return notes on the tasks for which the unedited model is compared."""
    runs = {side: run for side, run in (("first", one), ("second", two)) if run.leagues}
    idle = {side: _unedited(run, str(league), tasks) for side, run in runs.items()}
    said = "; ".join(f"{side} {', '.join(names)}" for side, names in idle.items() if names)
    return [f"left unedited in this league: {said}"] if said else []


def _tasks(
    one: Finished, two: Finished, league: str | None, wanted: str | Iterable[str] | None
) -> tuple[list[str], list[str]]:
    """Return the tasks to compare, in the first run's order, and notes on those left out."""
    first, second = one.results(league), two.results(league)
    shared = [name for name in first if name in second]
    if not shared:
        raise CanonbenchError(f"{one.path} and {two.path} have no task in common")
    for name in shared:
        if (first[name].loss, first[name].threshold) != (second[name].loss, second[name].threshold):
            raise CanonbenchError(f"{one.path} and {two.path} score task {name!r} by another loss or threshold")
    if wanted is not None and wanted != "all":
        names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
        for name in names:
            if name not in shared:
                raise unknown_name("task", name, shared, where="of both runs")
        return [name for name in shared if name in names], []
    alone = [name for name in (*first, *second) if name not in shared]
    return shared, [f"in one of the runs only, left out: {', '.join(alone)}"] if alone else []


def _texts(
    row: Row, given: str | Path | None, wanted: Mapping[str, list[int]]
) -> tuple[dict[str, dict[int, Example]], list[str]]:
    """Return the evaluation examples with the ``wanted`` indices, and notes on why any are missing.

    Raises:
        CanonbenchError: the suite given is not the one that was scored.
    """
    if given is None and not any(wanted.values()):
        return {}, []
    try:
        suite = Suite.load(given or row.suite.name)
        if suite.data_hash(row.split) != row.suite.data_hash:
            raise CanonbenchError(f"suite {suite.name!r} holds other data than what was scored; give another --suite")
    except CanonbenchError:
        if given is not None:
            raise
        return {}, [f"no texts: suite {row.suite.name!r}, as it was scored, is not at hand (--suite)"]
    tables = {task: suite.task(task).split(row.split).evaluation for task in wanted}
    return {
        task: {index: Example(*(tables[task][index][column] for column in Example._fields)) for index in indices}
        for task, indices in wanted.items()
    }, []
