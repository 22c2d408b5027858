"""The description of a submission, ``submissions/NAME/submission.yaml``: the method, its authors and its tuning.

The file also splits and joins a row's hyperparameters: those that all tasks share, and under ``by_task`` the others.

    {"epochs": 2, "by_task": {"country": {"lr": 1e-3}, "verb": {"lr": 1e-4}}}

The papers choose hyperparameters for every task (docs/reference/protocol.md#8-methods). A run has one set of them, so a
row that combines several runs may have several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, ValidationError, ValidationInfo, model_validator

from canonbench.errors import CanonbenchError, unknown_name
from canonbench.records import problems, read_yaml
from canonbench.results.row_results import Part

BY_TASK = "by_task"


def shared(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that all tasks share."""
    return {name: value for name, value in hyperparameters.items() if name != BY_TASK}


def for_task(hyperparameters: Mapping[str, Any], task: str) -> dict[str, Any]:
    """All hyperparameters of the task, shared and its own."""
    return shared(hyperparameters) | dict(hyperparameters.get(BY_TASK, {}).get(task, {}))


def joined(of_tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Join the hyperparameters of all tasks into those of one row; ``for_task`` is the inverse."""
    first, *others = of_tasks.values()
    same = {name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)}
    own = {
        task: {name: value for name, value in values.items() if name not in same} for task, values in of_tasks.items()
    }
    return same | ({BY_TASK: own} if any(own.values()) else {})


FILE = "submission.yaml"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Pattern of a submission's name, which is used for a folder, a file of rows and parts of URLs."""
ADDRESS = re.compile(r"https?://\S+")
TODO = "TODO"
"""Prefix of a text that a person has still to write."""


UNWRITTEN = "still to be filled in"
DRAFTS = "drafts"


def _written(text: str, info: ValidationInfo) -> str:
    is_draft = not text.strip() or text.lstrip().startswith(TODO)
    if is_draft and not (info.context or {}).get(DRAFTS):
        raise ValueError(UNWRITTEN)
    return text


def _address(text: str) -> str:
    if not ADDRESS.fullmatch(text):
        raise ValueError(f"must be an address that begins with https://, not {text!r}")
    return text


Text = Annotated[str, AfterValidator(_written)]
"""Written by a person."""
Url = Annotated[str, AfterValidator(_address)]
"""An address that a browser opens; nothing else becomes a link."""


class _Described(Part):
    """A part of the description; a key that is none of its fields gets a "did you mean"."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        for key in content if isinstance(content, dict) else ():
            known = [field.alias or name for name, field in cls.model_fields.items()]
            if key not in known:
                raise ValueError(str(unknown_name("key", str(key), known)))
        return content


class Paper(_Described):
    """A publication."""

    title: Text
    """As published."""
    url: Url
    """Where it can be read."""


class Tuning(_Described):
    """How the hyperparameters were found."""

    how: Text
    """In a sentence or two: searched or set by hand, on which split and models, judged by what."""
    trials: Annotated[int, Field(strict=True, ge=0)] | None = None
    """The budget: configurations tried per task and base model; null where a publication does not say."""


class Submission(_Described):
    """The whole of ``submission.yaml``; the folder's name is the submission's."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this file's format."""
    title: Text
    """The method's name, for people."""
    summary: Text
    """What it does, in a sentence."""
    authors: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Of the method."""
    contact: Text
    """Whom to ask about its rows: an e-mail address, a GitHub handle or an issue tracker."""
    paper: Paper | None = None
    """Where the method is described; null if nowhere yet."""
    code: Url | None = None
    """Where its code lives, if not (only) here."""
    method: Text | None = None
    """Its code: method.py:function beside this file, package.module:function, or a built-in method. null: its rows are
    reported from publications, and nothing here runs it."""
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    """What it runs with unless told otherwise; those of a row stand in the row."""
    tuning: Tuning
    """How they were chosen, and at what cost."""
    models: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Base models that it is meant for or has rows of."""


def read_submission(folder: Path, *, drafts: bool = False) -> Submission:
    """Read the description of the submission in ``folder``.

    Args:
        folder: folder of the submission.
        drafts: also accept a description in which a person has still to write something.

    Raises:
        CanonbenchError: the description is not valid; one line lists all problems.
    """
    path = folder / FILE
    content = read_yaml(path, "title: My method")
    try:
        return Submission.model_validate(content, context={DRAFTS: drafts})
    except ValidationError as error:
        raise CanonbenchError(f"{path}: {'; '.join(map(str, problems(error)))}") from error


def unwritten(folder: Path) -> list[str]:
    """List the keys that a person has still to write; empty if the file cannot be read."""
    try:
        Submission.model_validate(read_yaml(folder / FILE, "title: My method"))
    except ValidationError as error:
        return [each.place for each in problems(error) if UNWRITTEN in each.message]
    except CanonbenchError:
        pass
    return []
