"""Hyperparameters of a row: what all tasks share, and under ``by_task`` what each has of its own.

    {"epochs": 2, "by_task": {"country": {"lr": 1e-3}, "verb": {"lr": 1e-4}}}

The papers choose hyperparameters for every task (docs/reference/protocol.md#8-methods); a run has one set of them, so
a row that is made
of several runs may have several.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BY_TASK = "by_task"


def shared(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """What all tasks were edited with."""
    return {name: value for name, value in hyperparameters.items() if name != BY_TASK}


def for_task(hyperparameters: Mapping[str, Any], task: str) -> dict[str, Any]:
    """All that the task was edited with."""
    return shared(hyperparameters) | dict(hyperparameters.get(BY_TASK, {}).get(task, {}))


def joined(of_tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One row's hyperparameters, from those of every task; ``for_task`` gives each its own back."""
    first, *others = of_tasks.values()
    same = {name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)}
    own = {
        task: {name: value for name, value in values.items() if name not in same} for task, values in of_tasks.items()
    }
    return same | ({BY_TASK: own} if any(own.values()) else {})
