"""What a ``suite.yaml`` may say; the embedded, the published and your own suite are all described by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from canonbench.errors import unknown_name
from canonbench.records import read_yaml, validated
from canonbench.suite.tasks import TASKS

SplitName = Literal["val", "test"]
LOSSES: dict[str, int] = {"nll": 1, "likelihood": 1, "balance": 2, "preference": 2}
"""Continuations that each loss takes. The losses themselves are arithmetic in ``canonbench.scoring``."""


RESERVED = frozenset({"", "all", "average", "general", "noise"})
"""Names that a row, an examples file or the command line uses for something other than a task."""


LONGEST_NAME = 100
"""Characters of the name of a suite, task or general text, which becomes part of the names of files."""
LONGEST_PATTERN = 500


def _name(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"must have at most {LONGEST_NAME} characters, not {len(name)}")
    if not name.isprintable() or set(name) & set("/\\,") or name.startswith("."):
        raise ValueError(f"{name!r} must not begin with a dot or hold a slash, a comma or a control character")
    return name


def _pattern(pattern: str) -> str:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"must have at most {LONGEST_PATTERN} characters, not {len(pattern)}")
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if not groups:
        raise ValueError(f"{pattern!r} has no group; put what is the subject in parentheses, as in '^The (.+) said'")
    return pattern


Name = Annotated[str, AfterValidator(_name)]
"""Of something that files and options are named after."""
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression with a group."""
RowNumber = Annotated[int, Field(strict=True, ge=0)]
"""The number of a row, 0-based."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(unknown_name("key", str(key), cls.model_fields))
        return value


class FileSpec(_Spec):
    """A JSONL file, or some rows of it; a plain string is the whole file."""

    path: str
    rows: tuple[RowNumber, RowNumber | None] = (0, None)
    """First row and the row after the last, 0-based."""

    @model_validator(mode="before")
    @classmethod
    def _plain_string(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class SplitSpec(_Spec):
    """The files of one split of one task."""

    canonical: FileSpec
    evaluation: FileSpec
    hard_negatives: FileSpec
    unconditional: FileSpec | None = None


class SubjectSpec(_Spec):
    """How a row's subject is found: rows of one subject are one cluster of the intervals."""

    columns: tuple[str, ...] = ("subject",)
    """Columns tried in order."""
    canonical_pattern: Pattern | None = None
    """A regular expression whose group is the subject of a canonical prefix; a row belongs to the subject it names."""
    verb_forms: bool = False
    """The subject is the verb: the first words of the two continuations."""


class TaskSpec(_Spec):
    """One task: its files, and its loss and threshold unless it is one of the six."""

    loss: str | None = None
    threshold: float | None = None
    """δ in nats: success iff loss <= threshold."""
    success: str = ""
    subject: SubjectSpec = SubjectSpec()
    val: SplitSpec | None = None
    test: SplitSpec | None = None


class GeneralSpec(_Spec):
    """General text G for the leagues (val, test) and regularisation text R, disjoint."""

    val: FileSpec
    test: FileSpec
    regularization: FileSpec | None = None


class FlagsSpec(_Spec):
    """RowNumber flags of an audit: {flags: {file: {flag: [rows]}}, unclean: {task: [flags]}}."""

    path: str
    """Relative to the ``suite.yaml``."""
    root: str = ""
    """What the flag file's file names are relative to, itself relative to the suite's root."""


class FlagsFile(BaseModel):
    """A whole file of row flags; what else stands in it (where it comes from) is for people."""

    flags: dict[str, dict[str, tuple[RowNumber, ...]]]
    """By file and flag, the rows."""
    unclean: dict[str, tuple[str, ...]]
    """By task, the flags with which a row is left out of its clean subset."""


class SuiteSpec(_Spec):
    """A whole ``suite.yaml``."""

    name: Name
    version: str = "1"
    description: str = ""
    as_of: str | None = None
    """The day on which the suite's facts were true (ISO date)."""
    tasks: dict[Name, TaskSpec] = Field(min_length=1)
    general: dict[Name, GeneralSpec] = {}
    """By name; the first whose files are at hand is the default."""
    flags: FlagsSpec | None = None

    @model_validator(mode="after")
    def _losses_and_thresholds(self) -> Self:
        for name, task in self.tasks.items():
            if name in RESERVED:
                raise ValueError(f"a task cannot be called {name!r}: that name means something else in a row")
            if task.val is None and task.test is None:
                raise ValueError(f"task {name!r} has neither a val nor a test split")
            if task.loss is not None and task.loss not in LOSSES:
                raise ValueError(unknown_name("loss", task.loss, LOSSES, where=f"of task {name!r}"))
            for key in ("loss", "threshold"):
                if name not in TASKS and getattr(task, key) is None:
                    raise ValueError(f"task {name!r} is not one of the six standard ones and needs a '{key}:'")
        return self


def read_spec(path: Path) -> SuiteSpec:
    """Read a ``suite.yaml``.

    Raises:
        UsageError: an unknown key or loss.
        CanonbenchError: whatever else is wrong, in one line that names the file and the first problem.
    """
    return validated(SuiteSpec, read_yaml(path, "name: my-suite"), path)
