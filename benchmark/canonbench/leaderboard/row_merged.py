"""Of a merged model: what it was merged from, and what each task lost by that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from canonbench.leaderboard.row_results import LeagueName, Number, Part, TaskResult

ROUNDING = 2e-6  # of three numbers with six decimals


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
    """Where it contradicts the row's tasks, in one line each."""
    for name, edit in merged.edits.items():
        delta = tasks[name].success.delta if name in tasks else None
        expected = None if edit.own_delta is None or delta is None else delta - edit.own_delta
        found = edit.against_own
        if (found is None) != (expected is None):
            yield f"merged.edits.{name}: against_own comes with own_delta and the task's own delta"
        elif found is not None and expected is not None and abs(found - expected) > ROUNDING:
            yield f"merged.edits.{name}.against_own: {found} is not {delta} - {edit.own_delta}"
