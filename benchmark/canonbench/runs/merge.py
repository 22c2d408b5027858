"""Runs of one method on different tasks, made into one: in the per-task track every task has its own model anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError, UsageError
from canonbench.leaderboard.aggregate_examples import EDIT_COLUMNS
from canonbench.leaderboard.hyperparameters import for_task, joined
from canonbench.leaderboard.recompute import aggregated
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import LeagueTask
from canonbench.runs.finished import Finished, read_finished
from canonbench.suite.tasks import TASKS


def read_merged(runs: Sequence[str | Path]) -> Finished:
    """The run, or the one that several runs of different tasks make together.

    Raises:
        UsageError: no run, or there is no such file or folder.
        CanonbenchError: a run is damaged, or they do not belong together; what differs is named.
    """
    if not runs:
        raise UsageError("no run given")
    found = [read_finished(run) for run in runs]
    return found[0] if len(found) == 1 else merged(found)


def merged(runs: Sequence[Finished]) -> Finished:
    """Finished edit runs of different tasks as one. Its numbers are computed anew from all of their examples.

    Raises:
        CanonbenchError: they are not edit runs by the same method, of the same base, on the same data, by the same
            rules, with the same versions; or two of them have a task in common.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    first, *others = runs
    for other in others:
        _require_together(first, other)
    tasks = _tasks(runs)
    path = ", ".join(run.path for run in runs)
    examples = pa.concat_tables([run.examples.select(list(EDIT_COLUMNS)) for run in runs])
    leagues = {label: {name: tasks[name][0][label] for name in tasks} for label in first.row.leagues or {}}
    try:
        numbers = aggregated(first.row, leagues, examples)
    except CanonbenchError as error:
        raise CanonbenchError(f"{path}: {error}") from error
    content: dict[str, Any] = first.row.model_dump(by_alias=True) | {
        "hyperparameters": joined({name: for_task(settings, name) for name, (_, settings) in tasks.items()}),
        "seconds": sum(run.row.seconds or 0.0 for run in runs),
        "peak_memory_bytes": max(run.row.peak_memory_bytes or 0 for run in runs),
        **numbers._asdict(),
    }
    return Finished(path, Row.model_validate(content), examples)


def _require_together(one: Finished, other: Finished) -> None:
    if one.row.leagues is None or other.row.leagues is None:
        raise CanonbenchError(f"{one.path} and {other.path}: only edit runs of different tasks can be put together")
    for what, of in (
        ("data or rules", lambda row: row.comparable_group),
        ("method", lambda row: row.method),
        ("base", lambda row: (row.fingerprints.base, row.model)),
        ("leagues", lambda row: list(row.leagues)),
        ("dtype or device", lambda row: (row.dtype, row.device)),
        ("versions", lambda row: row.versions),
    ):
        if of(one.row) != of(other.row):
            raise CanonbenchError(f"{one.path} and {other.path} cannot be put together: they differ in {what}")


def _tasks(runs: Sequence[Finished]) -> dict[str, tuple[dict[str, LeagueTask], dict[str, Any]]]:
    """By task, in the standard order: its result in every league, and the hyperparameters of its run."""
    found: dict[str, tuple[dict[str, LeagueTask], dict[str, Any]]] = {}
    for run in runs:
        assert run.row.leagues is not None
        for name in next(iter(run.row.leagues.values())).tasks:
            if name in found:
                raise CanonbenchError(f"{run.path} has task {name!r} as well; give every task once")
            of_league = {label: league.tasks[name] for label, league in run.row.leagues.items()}
            found[name] = of_league, dict(run.row.hyperparameters or {})
    order = [*TASKS, *(name for name in found if name not in TASKS)]
    return {name: found[name] for name in order if name in found}
