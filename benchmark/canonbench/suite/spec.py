"""What a ``suite.yaml`` may say; the embedded, the published and your own suite are all described by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.suite.tasks import TASKS
from canonbench.yaml_file import read_mapping

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SplitName = Literal["val", "test"]
LOSSES: dict[str, int] = {"nll": 1, "likelihood": 1, "balance": 2, "preference": 2}
"""Continuations that each loss takes. The losses themselves are arithmetic in ``canonbench.scoring``."""


RESERVED = frozenset({"", "all", "average", "general", "noise"})
"""Names that a row, an examples file or the command line uses for something other than a task."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

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
    rows: tuple[int, int | None] = (0, None)
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
    canonical_pattern: str | None = None
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
    """Row flags of an audit: {flags: {file: {flag: [rows]}}, unclean: {task: [flags]}}."""

    path: str
    """Relative to the ``suite.yaml``."""
    root: str = ""
    """What the flag file's file names are relative to, itself relative to the suite's root."""


class SuiteSpec(_Spec):
    """A whole ``suite.yaml``."""

    name: str
    version: str = "1"
    description: str = ""
    as_of: str | None = None
    """The day on which the suite's facts were true (ISO date)."""
    tasks: dict[str, TaskSpec] = Field(min_length=1)
    general: dict[str, GeneralSpec] = {}
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
    content = read_mapping(path, "name: my-suite")
    try:
        return SuiteSpec.model_validate(content)
    except ValidationError as error:
        raise _in_words(path, error.errors()[0]) from error


def _in_words(path: Path, problem: ErrorDetails) -> CanonbenchError:
    """Pydantic's first finding, for someone who writes a ``suite.yaml``."""
    places = [str(part) for part in problem["loc"]]
    kind = CanonbenchError
    if problem["type"] == "missing":
        message = f"{places.pop()!r} is missing"
    elif problem["type"] == "value_error":  # raised by a validator above
        (cause,) = problem["ctx"]["error"].args
        kind, message = UsageError if isinstance(cause, UsageError) else CanonbenchError, str(cause)
    else:
        message = problem["msg"]
    where = f"{'.'.join(places)}: " if places else ""
    return kind(f"{path}: {where}{message}")
