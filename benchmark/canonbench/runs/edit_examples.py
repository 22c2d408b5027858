"""examples.parquet of an edit run: the base's rows once, and those of every candidate that a league took."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from canonbench.runs.examples import Columns, concatenate, general_columns, task_columns
from canonbench.runs.measured import Measured
from canonbench.runs.questions import Question, Unit
from canonbench.scoring import mean_loss, success_rate
from canonbench.scoring.selection import UNEDITED


def candidate_columns(
    rows: Question,
    units: Mapping[str, Unit],
    edited: Mapping[str, Measured],
    base: Mapping[str, Measured],
    *,
    seed: int,
    number: int = UNEDITED,
) -> Columns:
    """One task's evaluation rows, hard negatives and general chunks, by one candidate beside the base.

    Args:
        rows: the task's rows.
        units: its requests, under its name and ``general``.
        edited: what the candidate's were measured, likewise; the base's own for the unedited model.
        base: the base's, with ``noise``.
        seed: the candidate's.
        number: the candidate's.
    """
    name = rows.task.name
    blocks = task_columns(rows, units[name], edited[name], base[name])
    general = general_columns(units["general"], edited["general"], base["general"], base["noise"])
    general["task"] = np.full(len(general["task"]), name, dtype=object)
    columns = concatenate([*blocks, general])
    for key, value in (("seed", seed), ("candidate", number)):
        columns[key] = np.full(len(columns["task"]), value, dtype=np.int64)
    return columns


def task_numbers(rows: Question, unit: Unit, measured: Measured, threshold: float) -> tuple[float, float]:
    """A model's success rate in percent, and its mean NLL on the hard negatives in nats."""
    evaluation, hard = task_columns(rows, unit, measured, None)
    return success_rate(evaluation["edited_loss"], threshold), mean_loss(hard["edited_loss"])
