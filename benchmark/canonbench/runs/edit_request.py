"""What a method is asked, made of what the caller asked for."""

from __future__ import annotations

from typing import Any

from canonbench.editing.contract import EditRequest
from canonbench.runs.settings import Asked
from canonbench.suite import Example


def edit_request(asked: Asked, task: str, seed: int, settings: Any) -> EditRequest[Any]:
    """A task's canonical examples of the split, and regularisation text if there is any."""
    rows = asked.suite.task(task).split(asked.split).canonical
    general = asked.general
    return EditRequest(
        task=task,
        loss=asked.suite.task(task).task.loss,
        canonical=[Example(*each) for each in zip(rows["prefix"], rows["suffix_a"], rows["suffix_b"], strict=True)],
        regularization=list(general.texts("regularization")["text"]) if general and general.spec.regularization else [],
        seed=seed,
        hyperparameters=settings,
    )
