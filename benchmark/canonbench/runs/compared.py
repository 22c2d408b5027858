"""Two finished runs side by side, and that as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from canonbench.leaderboard.comparison import Comparison, Flip, TaskComparison
from canonbench.runs.finished import Finished
from canonbench.suite import Example


@dataclass(frozen=True)
class Compared:
    """Two runs side by side."""

    first: Finished
    second: Finished
    league: str | None
    """Of the edit runs among the two; None if neither is one."""
    others: tuple[str, ...]
    """Leagues that could have been asked for instead."""
    comparison: Comparison
    shown: int
    """Flips to show per task, those with the largest change in loss."""
    texts: Mapping[str, Mapping[int, Example]]
    """Of the flips shown, by task and index; empty if the suite is not at hand."""
    notes: tuple[str, ...]
    """What was left out, and why."""

    def shown_flips(self, task: str) -> tuple[Flip, ...]:
        """The task's flips with the largest change in loss."""
        return self.comparison.tasks[task].flips[: self.shown]

    def repetitions(self, run: Finished) -> int:
        """Over how many repetitions the run's numbers are means, at most."""
        if not run.leagues or self.league is None:
            return 1
        return max(len(run.taken(task, self.league)) for task in self.comparison.tasks)

    def to_json(self) -> str:
        """Everything as JSON text, with a newline at the end."""
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

    def _flip(self, task: str, flip: Flip) -> dict[str, Any]:
        text = self.texts.get(task, {}).get(flip.index)
        scores = {"first": flip.first._asdict(), "second": flip.second._asdict()}
        return asdict(flip) | scores | {"text": text._asdict() if text else None}
