"""The schema of ``suite.yaml``, which describes the embedded suite, the published one and a user's own."""

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
"""Number of continuations of each loss. The losses themselves are defined in ``canonbench.scoring.losses``."""


RESERVED = frozenset({"", "all", "average", "general", "noise"})
"""Names that a row, an examples file or the command line uses for something other than a task."""


LONGEST_NAME = 100
"""Most characters in the name of a suite, task or general text, which becomes part of file names."""
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
"""A name that is used in file names and options."""
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression with a group."""
RowNumber = Annotated[int, Field(strict=True, ge=0)]
"""A 0-based row number."""


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
    """A JSONL file or a range of its rows; a plain string means the whole file."""

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
    """How to find a row's subject; rows with the same subject form one cluster of the intervals."""

    columns: tuple[str, ...] = ("subject",)
    """Columns tried in order."""
    canonical_pattern: Pattern | None = None
    """A regular expression whose group is the subject of a canonical prefix; a row belongs to the one in its text."""
    verb_forms: bool = False
    """Whether the subject is the verb, given by the first words of the two continuations."""


class TaskSpec(_Spec):
    """One task: its files, and its loss and threshold unless it is one of the six standard tasks."""

    loss: str | None = None
    threshold: float | None = None
    """δ in nats: success iff loss <= threshold."""
    success: str = ""
    subject: SubjectSpec = SubjectSpec()
    val: SplitSpec | None = None
    test: SplitSpec | None = None


class GeneralSpec(_Spec):
    """General text G for the leagues (val, test) and regularisation text R; the parts are disjoint."""

    val: FileSpec
    test: FileSpec
    regularization: FileSpec | None = None


class FlagsSpec(_Spec):
    """Where the row flags of an audit are: {flags: {file: {flag: [rows]}}, unclean: {task: [flags]}}."""

    path: str
    """Path of the flag file, relative to the ``suite.yaml``."""
    root: str = ""
    """Folder that the flag file's file names are relative to; itself relative to the suite's root."""


class FlagsFile(BaseModel):
    """The content of a file of row flags; other keys (such as its origin) are ignored."""

    flags: dict[str, dict[str, tuple[RowNumber, ...]]]
    """By file and flag, the flagged rows."""
    unclean: dict[str, tuple[str, ...]]
    """By task, the flags that exclude a row from the task's clean subset."""


class SuiteSpec(_Spec):
    """The content of a ``suite.yaml``."""

    name: Name
    version: str = "1"
    description: str = ""
    as_of: str | None = None
    """The day on which the suite's facts were true (ISO date)."""
    tasks: dict[Name, TaskSpec] = Field(min_length=1)
    general: dict[Name, GeneralSpec] = {}
    """General texts by name; the default is the first whose files are all available."""
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
        CanonbenchError: any other problem; one line names the file and the first problem.
    """
    return validated(SuiteSpec, read_yaml(path, "name: my-suite"), path)
