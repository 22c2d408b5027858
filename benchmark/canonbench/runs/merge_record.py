"""What was merged: the part of ``canonbench_edit.json`` that says so, under ``merged``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from canonbench.models.edit_file import EditFile
from canonbench.records import validated

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
