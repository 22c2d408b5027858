"""One leaderboard row: what was measured, with what, and how it came about (docs/reference/protocol.md#6-rows).

Two kinds share the schema. A *fixed checkpoint* has ``general``, ``tasks`` and ``average``. An *edit run* has
``leagues`` instead, because each league chose its own candidate for every task. Rows of earlier versions of the schema
are upgraded when they are read. ``docs/reference/row.md`` explains every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, model_validator

from canonbench.files import read_text, write_whole
from canonbench.model_names import Kind
from canonbench.records import parse_json, validated
from canonbench.results.row_checks import Merged, first_problem
from canonbench.results.row_results import Average, General, League, LeagueName, Number, Part, TaskResult
from canonbench.scoring import straddles

if TYPE_CHECKING:
    import pandas as pd

Content = dict[str, Any]


def upgraded(content: Content) -> Content:
    """Upgrade a row's content to the current schema version; content of no earlier version is returned unchanged."""
    while (step := _STEPS.get(str(content.get("schema")))) is not None:
        content = step(content)
    return content


def _from_1(content: Content) -> Content:
    """Upgrade from version 1; version 2 added a row's provenance and the flags that keep it from being ranked."""
    added: Mapping[str, Any] = {"submission": None, "flags": [], "examples": None}
    return {**added, **content, "schema": 2}


def _from_2(content: Content) -> Content:
    """Upgrade from version 2; version 3 has intervals without a seed, and the leagues that a ratio's interval contains.

    The intervals stay percentiles of a bootstrap; recomputing them would need the per-example values.
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
        return False  # not a league's name; validation of the current version reports it


_STEPS: dict[str, Callable[[Content], Content]] = {"1": _from_1, "2": _from_2}


DtypeClass = Literal["float32", "half"]


class ComparableGroup(NamedTuple):
    """The properties in which rows must be equal to share a ranking."""

    suite: str
    data_hash: str | None
    split: str
    limit: int | None
    general: str | None
    general_hash: str | None
    protocol: str
    dtype_class: DtypeClass


class Provenance(Part):
    """Who or what says so."""

    source: Annotated[str, Field(min_length=1)]
    """The program and version that measured it, or the publication that reports it."""
    note: str | None
    """What a reader must know, e.g. why a reported number is doubtful."""


class Flag(Part):
    """A reason not to take the row at its word."""

    name: Literal["unreliable", "superseded", "partial"]
    """unreliable: shown, but not ranked. superseded by another row, or partial: listed only as left out."""
    reason: Annotated[str, Field(min_length=1)]
    """What is wrong with it, for the reader."""


class ExamplesReference(Part):
    """The per-example values that a row's numbers were computed from."""

    file: Annotated[str, Field(min_length=1)]
    """Path from the root of the repository, or hf://datasets/OWNER/NAME@REVISION/PATH."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the file."""


class SuiteReference(Part):
    """The data that was asked."""

    name: str
    """mini, published, or your own suite's name."""
    version: str
    """As in its suite.yaml."""
    data_hash: str | None
    """SHA-256 over the split's files and row flags; null where a reported row does not give it."""


class ModelReference(Part):
    """A model, by name: for people. What it *is* stands in fingerprints."""

    name: Annotated[str, Field(min_length=1)]
    """As the user gave it."""
    source: Kind
    """Where it came from."""
    revision: str | None
    """Of a hub id; null otherwise."""


class Fingerprints(Part):
    """SHA-256 over weights and configuration."""

    model: str | None
    """Of the evaluated model; null in an edit run (one model per task and league) and in reported rows."""
    base: str | None
    """Of the base; null without one and in reported rows."""


class Row(Part):
    """One row of the leaderboard, and the whole of ``row.json``."""

    schema_version: Literal[3] = Field(alias="schema")
    """Version of this schema; rows of versions 1 and 2 are read as well."""
    state: Literal["measured", "reported", "submitted", "reproduced"]
    """measured here; reported by a publication; submitted with per-example values; reproduced by running it again."""
    provenance: Provenance
    """Who or what stands behind the numbers."""
    submission: str | None
    """Folder under submissions/ that says how it was made; null for a run that is not on the board."""
    flags: tuple[Flag, ...]
    """Reasons not to rank it; normally none."""
    examples: ExamplesReference | None
    """Per-example values kept with a row on the board; null in reported rows, and in a run, which has its own."""
    protocol: Annotated[str, Field(min_length=1)]
    """Name of the protocol; one from a file carries a digest of its content."""
    suite: SuiteReference
    """Which suite, and exactly which data."""
    split: Literal["val", "test"]
    """Which split was scored."""
    limit: Annotated[int, Field(strict=True, ge=1)] | None
    """Only the first so many rows of every file were scored; null = all."""
    track: Literal["per-task", "joint"]
    """per-task: one edited model per task, the papers' setting. joint: one model for all tasks."""
    model: ModelReference
    """The evaluated checkpoint; in an edit run the model that was edited."""
    base: ModelReference | None
    """What it is compared with; null if the model was scored on its own."""
    method: str | None
    """Name of the editing method; null for a checkpoint of unknown making."""
    hyperparameters: dict[str, JsonValue] | None
    """Of the method; those that a task has of its own stand under ``by_task``."""
    fingerprints: Fingerprints
    """What model and base are, whatever they are called."""
    dtype: Literal["float64", "float32", "bfloat16", "float16"]
    """Of the weights during evaluation."""
    device: str | None
    """What it ran on, e.g. cpu; null in reported rows."""
    versions: dict[str, str]
    """Versions of python, canonbench, torch and the like."""
    seconds: Number | None
    """Time spent scoring, resumed runs added up; null in reported rows."""
    peak_memory_bytes: Annotated[int, Field(strict=True, ge=0)] | None
    """Peak memory: of the GPU where the model is on one, else resident memory of the process; null in reported rows."""
    general: General | None
    """Loss on general text; null if none was scored."""
    tasks: Annotated[dict[str, TaskResult], Field(min_length=1)] | None
    """By task name; null in an edit run."""
    average: Average | None
    """Over these tasks; null in an edit run."""
    leagues: Annotated[dict[LeagueName, League], Field(min_length=1)] | None
    """An edit run's results by league; null for a fixed checkpoint."""
    merged: Annotated[Merged | None, Field(exclude_if=lambda merged: merged is None)] = None
    """What the evaluated model was merged from; the one key that is only there where it applies."""

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, content: Any) -> Any:
        return upgraded(content) if isinstance(content, dict) else content

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        problem = first_problem(self)
        if problem is not None:
            raise ValueError(problem)
        return self

    @cached_property
    def row_id(self) -> str:
        """First twelve hexadecimal digits of the SHA-256 of the row's line; identifies the row on the board."""
        return hashlib.sha256(self.to_line().encode("utf-8")).hexdigest()[:12]

    @property
    def comparable_group(self) -> ComparableGroup:
        """The properties shared by all rows this one may be ranked against; float64 counts as float32."""
        return ComparableGroup(
            suite=f"{self.suite.name} {self.suite.version}",
            data_hash=self.suite.data_hash,
            split=self.split,
            limit=self.limit,
            general=self.general.name if self.general else None,
            general_hash=self.general.data_hash if self.general else None,
            protocol=self.protocol,
            dtype_class="half" if self.dtype in {"bfloat16", "float16"} else "float32",
        )

    def to_json(self) -> str:
        """Return the row as JSON text with a stable key order and a final newline."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def to_line(self) -> str:
        """Return the row as one line of JSON without a newline, as in ``leaderboard/rows/*.jsonl``."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def to_frame(self) -> pd.DataFrame:
        """The row's numbers as a data frame: a line per task, and per league where it has leagues."""
        from canonbench.results.frames import row_frame  # noqa: PLC0415  (builds on rows; pandas is slow to import)

        return row_frame(self)

    def write(self, path: str | Path) -> None:
        """Write the row to exactly ``path``, atomically; CanonbenchError naming the path if that fails."""
        write_whole(Path(path), self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Row:
        """Read the row in ``path``; CanonbenchError in one line naming the path, the place and the first problem."""
        return cls.parse(read_text(Path(path)), str(path))

    @classmethod
    def parse(cls, text: str, place: str) -> Row:
        """Parse the row in ``text``, JSON; CanonbenchError in one line naming ``place`` and the first problem."""
        return validated(cls, parse_json(text, place), place)
