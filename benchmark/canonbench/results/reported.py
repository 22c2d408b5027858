"""Build rows from publications: a table's numbers in the form of an edit run's row, null where it gives none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from canonbench.results.row import Fingerprints, Flag, ModelReference, Provenance, Row, SuiteReference
from canonbench.results.row_results import (
    Average,
    ChangeWithInterval,
    General,
    HardNegatives,
    League,
    LeagueTask,
    is_complete,
)
from canonbench.suite import TASKS

EVALUATION_ROWS = {"country": 583, "company": 425, "stereoset": 1053, "gender": 360, "temporal": 486, "verb": 360}
"""Number of evaluation rows per task in the published test split."""
HARD_NEGATIVE_ROWS = {"country": 116, "company": 219, "stereoset": 1053, "gender": 235, "temporal": 389, "verb": 720}
"""Number of hard negatives per task in the published val split: the released test configurations read val's
(docs/reference/protocol.md#3-hard-negatives)."""
GENERAL = "openwebtext-500"
"""The papers' general text G: all of ``data/val-chunked.jsonl``."""
PROTOCOL = "hewitt2024"


@dataclass(frozen=True)
class Reported:
    """One number before and after: success in percent, or hard negatives in nats."""

    base: float
    edited: float

    @property
    def delta(self) -> float:
        """Edited − base."""
        return self.edited - self.base


@dataclass(frozen=True)
class Cell:
    """A publication's numbers for one task in one league."""

    success: Reported
    standard_error: float | None
    """Standard error of the mean over runs, points."""
    hard_negatives: Reported | None = None
    unedited: bool = False
    """Whether no edit stayed in the league, so that the base is reported: its ratio is 1 by definition."""


@dataclass(frozen=True)
class Origin:
    """Everything about a reported row except its numbers."""

    source: str
    note: str
    flags: tuple[Flag, ...]
    suite_version: str
    model: str
    """Hub id of the model."""
    method: str
    dtype: Literal["float32", "bfloat16", "float16"]


def reported_row(origin: Origin, leagues: Mapping[str, Mapping[str, Cell]]) -> Row:
    """Build the row of one method on one model from cells by league and task; tasks are put in the standard order."""
    model = ModelReference(name=origin.model, source="hub", revision=None)
    return Row(
        schema=3,
        state="reported",
        provenance=Provenance(source=origin.source, note=origin.note),
        submission=origin.method,
        flags=origin.flags,
        examples=None,
        protocol=PROTOCOL,
        suite=SuiteReference(name="published", version=origin.suite_version, data_hash=None),
        split="test",
        limit=None,
        track="per-task",
        model=model,
        base=model,
        method=origin.method,
        hyperparameters=None,
        fingerprints=Fingerprints(model=None, base=None),
        dtype=origin.dtype,
        device=None,
        versions={},
        seconds=None,
        peak_memory_bytes=None,
        general=_general(leagues),
        tasks=None,
        average=None,
        leagues={label: _league(cells) for label, cells in leagues.items()},
    )


def _general(leagues: Mapping[str, object]) -> General:
    return General(
        name=GENERAL,
        data_hash=None,
        n_chunks=None,
        n_tokens=None,
        base=None,
        edited=None,
        ratio=None,
        ratio_ci=None,
        straddles=None,
        noise_floor=None,
        leagues=dict.fromkeys(leagues),
    )


def _league(cells: Mapping[str, Cell]) -> League:
    ordered = {name: cells[name] for name in TASKS if name in cells}
    hard = [cell.hard_negatives for cell in ordered.values() if cell.hard_negatives is not None]
    average = Average(
        tasks=tuple(ordered),
        n_tasks=len(ordered),
        complete=is_complete(tuple(ordered)),
        success=_mean([cell.success for cell in ordered.values()]),
        clean=None,
        hard_negatives=_mean(hard) if len(hard) == len(ordered) else None,
    )
    return League(tasks={name: _task(name, cell) for name, cell in ordered.items()}, average=average)


def _task(name: str, cell: Cell) -> LeagueTask:
    return LeagueTask(
        loss=TASKS[name].loss,
        threshold=TASKS[name].threshold,
        n=EVALUATION_ROWS[name],
        n_subjects=None,
        success=_change(cell.success),
        clean=None,
        hard_negatives=None if cell.hard_negatives is None else _hard_negatives(name, cell.hard_negatives),
        standard_error=cell.standard_error,
        ratio=1.0 if cell.unedited else None,
        ratio_ci=None,
        straddles=None,
        membership="in",
        candidate=None,
        seeds=None,
    )


def _hard_negatives(name: str, value: Reported) -> HardNegatives:
    return HardNegatives(**dict(_change(value)), n=HARD_NEGATIVE_ROWS[name], n_subjects=None)


def _change(value: Reported) -> ChangeWithInterval:
    return ChangeWithInterval(base=value.base, edited=value.edited, delta=value.delta, ci=None)


def _mean(values: Sequence[Reported]) -> ChangeWithInterval:
    return _change(Reported(fmean(each.base for each in values), fmean(each.edited for each in values)))
