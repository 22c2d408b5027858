"""Rows of earlier versions of the schema, brought to the present one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from canonbench.scoring import straddles

Content = dict[str, Any]


def upgraded(content: Content) -> Content:
    """A row's content in the present version; what is of no earlier version is returned as it is."""
    while (step := _STEPS.get(str(content.get("schema")))) is not None:
        content = step(content)
    return content


def _from_1(content: Content) -> Content:
    """Version 2 added where a row on the board comes from and why it may not be ranked."""
    added: Mapping[str, Any] = {"submission": None, "flags": [], "examples": None}
    return {**added, **content, "schema": 2}


def _from_2(content: Content) -> Content:
    """Version 3 has intervals that nothing is drawn for, hence no seed, and says which leagues a ratio's straddles.

    The intervals stay as they are, percentiles of a bootstrap; only per-example values could give others.
    """
    general, leagues = content.get("general"), content.get("leagues")
    now = {**{key: value for key, value in content.items() if key != "seed"}, "schema": 3}
    if isinstance(general, dict):
        lines, ends = general.get("leagues"), general.get("ratio_ci")
        labels = lines if isinstance(lines, dict) and _is_interval(ends) else None
        straddled = None if labels is None else [label for label in labels if _straddles(ends, label)]
        now["general"] = {"straddles": straddled, **general}
    if isinstance(leagues, dict):
        now["leagues"] = {label: _league_from_2(label, league) for label, league in leagues.items()}
    return now


def _league_from_2(label: str, league: Any) -> Any:
    if not isinstance(league, dict) or not isinstance(league.get("tasks"), dict):
        return league
    tasks = {name: _task_from_2(label, task) for name, task in league["tasks"].items()}
    return {**league, "tasks": tasks}


def _task_from_2(label: str, task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    ends = task.get("ratio_ci")
    return {"straddles": _straddles(ends, label) if _is_interval(ends) else None, **task}


def _is_interval(ends: Any) -> bool:
    return isinstance(ends, list | tuple) and len(ends) == 2 and all(isinstance(end, float | int) for end in ends)


def _straddles(ends: Any, label: str) -> bool:
    try:
        return straddles((ends[0], ends[1]), float(label))
    except ValueError:
        return False  # no league's name, which the present version refuses in its own words


_STEPS: dict[str, Callable[[Content], Content]] = {"1": _from_1, "2": _from_2}
