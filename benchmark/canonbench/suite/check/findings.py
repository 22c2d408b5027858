"""The data that suite checks work on, and the findings they return: one line per problem, in ``path:line:`` form.

A task's files are read into rows with their subjects; helpers search for whole words in text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from canonbench.errors import CanonbenchError
from canonbench.records import read_jsonl
from canonbench.suite.example import Example, canonical_subjects, example, read_rows, subject_of, text_of
from canonbench.suite.spec import FileSpec, SubjectSpec
from canonbench.suite.suite import Split, SuiteTask

Level = Literal["error", "warning", "note"]
"""``error``: a score on this data would be wrong. ``warning``: a score would be less meaningful. ``note``: something
could not be checked."""


class Finding(NamedTuple):
    """One problem; its ``str`` is ``path:line: message``."""

    level: Level
    task: str | None
    split: str | None
    part: str | None
    row: int | None
    """0-based row; None if the finding is about a whole file or suite."""
    path: Path
    message: str
    rule: str
    """The rule's short name, as in docs/reference/data-check.md."""

    def __str__(self) -> str:
        """Return the finding as one line; line numbers count from 1."""
        line = "" if self.row is None else f":{self.row + 1}"
        return f"{self.path}{line}: {self.message}"


PartName = Literal["canonical", "evaluation", "hard_negatives"]
PARTS: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True)
class Row:
    """One example with all fields of its line."""

    index: int
    """0-based line of the file."""
    fields: dict[str, Any]
    example: Example
    subject: str | None
    """None if unknown."""

    @property
    def answers(self) -> list[str]:
        """The continuations without the space and punctuation around them."""
        given = (self.example.suffix_a, self.example.suffix_b)
        return [answer for suffix in given if suffix and (answer := suffix.strip().rstrip(".,;:!?"))]

    @property
    def answer(self) -> str:
        """The first continuation, without the space and punctuation around it."""
        return next(iter(self.answers), "")


@dataclass(frozen=True)
class Part:
    """The well-formed rows of one file of one split."""

    task: str
    split: str
    name: PartName
    path: Path
    rows: list[Row]

    def finding(self, level: Level, rule: str, message: str, row: Row | None = None) -> Finding:
        """Make a finding about a row of this file, or about the whole file."""
        return Finding(level, self.task, self.split, self.name, row.index if row else None, self.path, message, rule)


class TaskText(NamedTuple):
    """A task's parts by split and name, the input of the rules. A part that cannot be read is empty."""

    parts: dict[tuple[str, PartName], Part]

    def named(self, name: PartName) -> Iterator[Part]:
        """Return the part called ``name`` of every split."""
        return (part for part in self.parts.values() if part.name == name)

    def beside(self, part: Part, name: PartName) -> Part:
        """Return the part called ``name`` of the same split as ``part``."""
        return self.parts[part.split, name]

    def canonical_answers(self, part: Part) -> dict[str, set[str]]:
        """Return the canonical answers of each subject in the part's split."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self.beside(part, "canonical").rows:
            if row.subject is not None:
                found[row.subject].add(row.answer)
        return found


def read_task(name: str, suite_task: SuiteTask) -> tuple[TaskText, list[Finding]]:
    """Read a task's parts; rows that cannot be read are left out and reported as findings."""
    parts: dict[tuple[str, PartName], Part] = {}
    found: list[Finding] = []
    for split_name, split in suite_task.splits.items():
        for part_name in PARTS:
            part = Part(name, split_name, part_name, split.path(part_name), [])
            found += _read_into(part, split)
            parts[split_name, part_name] = part
        found += _read_unconditional(name, split_name, split)
    return TaskText(parts), found


def _read_into(part: Part, split: Split) -> Iterator[Finding]:
    file: FileSpec = getattr(split.spec, part.name)
    try:
        lines = read_rows(split.root, file)
        pattern = split.subject.canonical_pattern
        subjects = canonical_subjects(pattern, read_jsonl(split.path("canonical"))) if pattern else []
    except CanonbenchError as error:
        yield malformed(part.task, part.split, part.name, part.path, error)
        return
    if not lines:
        yield part.finding("error", "empty_file", "no rows")
    pair = part.name != "hard_negatives" and split.arity > 1
    for index, fields in enumerate(lines, file.rows[0]):
        try:
            texts = example(fields, part.path, index)
        except CanonbenchError as error:
            yield malformed(part.task, part.split, part.name, part.path, error)
            continue
        row = Row(index, fields, texts, _subject(fields, texts, index, split.subject, subjects))
        if pair and texts.suffix_b is None:
            yield part.finding("error", "malformed", "this task's loss compares 'suffix1' with 'suffix2'", row)
        else:
            part.rows.append(row)


def _subject(fields: dict[str, Any], texts: Example, index: int, spec: SubjectSpec, subjects: list[str]) -> str | None:
    if spec.verb_forms and not all(suffix.strip() for suffix in texts[1:] if suffix is not None):
        return None  # the verb is taken from the continuations, and one of them is empty
    subject = subject_of(fields, index, spec, subjects)
    return None if subject == f"row {index}" else subject


def _read_unconditional(task: str, split_name: str, split: Split) -> Iterator[Finding]:
    file = split.spec.unconditional
    if file is None:
        return
    path = split.path("unconditional")
    try:
        for index, fields in enumerate(read_rows(split.root, file), file.rows[0]):
            text_of(fields, "text", path, index)
    except CanonbenchError as error:
        yield malformed(task, split_name, "unconditional", path, error)


def malformed(task: str | None, split: str | None, part: str, path: Path, error: CanonbenchError) -> Finding:
    """Turn a reader's error into a finding, with path and line taken from its message."""
    text = str(error)
    located = re.match(rf"{re.escape(str(path))}:(\d+): (.*)", text, re.DOTALL)
    row, message = (
        (int(located[1]) - 1, located[2])
        if located
        else (None, text.removeprefix(f"{path}: ").replace(f" {path}", "", 1))
    )
    return Finding("error", task, split, part, row, path, message, "malformed")


def stands_in(word: str, text: str) -> bool:
    """Whether ``word`` occurs in the text as whole words, ignoring case."""
    return bool(word) and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches any of ``words`` as whole words, ignoring case."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """Return the text's words in lower case, without punctuation; ``don't`` and ``far-off`` are one word each."""
    return re.findall(r"\w+(?:['’-]\w+)*", text.lower())
