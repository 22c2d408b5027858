"""Rules for the rows of any task: whole, not twice, not giving the answer away, with a subject that was taught."""

from __future__ import annotations

import re
from collections.abc import Iterator

from canonbench.suite.check_text import PARTS, Part, Row, TaskText, stands_in
from canonbench.suite.findings import Finding


def check_rows(text: TaskText) -> Iterator[Finding]:
    """What is wrong with any row of any task."""
    for part in text.parts.values():
        for row in part.rows:
            yield from _check_boundary(part, row)
            yield from _check_answer(part, row)
        yield from _check_duplicates(part)
    for part in text.named("evaluation"):
        yield from _check_subjects(text, part)
    yield from _check_disjoint(text)


def _check_boundary(part: Part, row: Row) -> Iterator[Finding]:
    prefix, suffix_a, suffix_b = row.example
    if not prefix.strip():
        yield part.finding("error", "empty_prefix", "the prefix is empty", row)
    elif prefix != prefix.strip():
        yield part.finding("warning", "prefix_space", "the prefix begins or ends with whitespace", row)
    for suffix in (suffix_a, suffix_b):
        if suffix is None:
            continue
        if not suffix.strip():
            yield part.finding("error", "empty_suffix", "a suffix is empty", row)
        elif not re.match(r" \S", suffix):
            message = f"the suffix {_short(suffix)} does not begin with exactly one space"
            yield part.finding("warning", "suffix_space", message, row)
    if suffix_a == suffix_b:
        yield part.finding("error", "equal_suffixes", "the two suffixes are equal", row)


def _check_answer(part: Part, row: Row) -> Iterator[Finding]:
    if part.task == "gender" and part.name == "hard_negatives":  # there the pronoun is given, on purpose
        return
    for answer in row.answers:
        if stands_in(answer, row.example.prefix):
            yield part.finding("error", "answer_in_prefix", f"the answer {_short(answer)} stands in the prefix", row)


def _check_duplicates(part: Part) -> Iterator[Finding]:
    first: dict[tuple[str | None, ...], int] = {}
    for row in part.rows:
        earlier = first.setdefault(row.example, row.index)
        if earlier != row.index:
            yield part.finding("error", "duplicate_row", f"the same prefix and suffix as line {earlier + 1}", row)


def _check_subjects(text: TaskText, evaluation: Part) -> Iterator[Finding]:
    taught = text.canonical_answers(evaluation)
    for row in evaluation.rows:
        if row.subject is not None and row.subject not in taught:
            message = f"no canonical example is about {row.subject!r}"
            yield evaluation.finding("error", "no_canonical", message, row)
    unknown = sum(row.subject is None for row in evaluation.rows)
    if unknown:
        message = (
            f"the subject of {unknown} of {len(evaluation.rows)} rows cannot be told: "
            "each is a cluster of its own, and rules about subjects do not see it"
        )
        yield evaluation.finding("note", "unknown_subject", message)


def _check_disjoint(text: TaskText) -> Iterator[Finding]:
    """No row, and no taught subject, in both splits; what is developed on val must be new on test."""
    if ("val", "canonical") not in text.parts or ("test", "canonical") not in text.parts:
        return
    for name in PARTS:
        val, test = text.parts["val", name], text.parts["test", name]
        seen = {row.example: row.index for row in val.rows}
        for row in test.rows:
            if row.example in seen:
                message = f"the same prefix and suffix as line {seen[row.example] + 1} of the val file"
                yield test.finding("error", "row_in_val", message, row)
    val, test = text.parts["val", "canonical"], text.parts["test", "canonical"]
    in_val = {row.subject: row.index for row in val.rows if row.subject is not None}
    for subject, row in {row.subject: row for row in reversed(test.rows) if row.subject in in_val}.items():
        message = f"{subject!r} is a subject of val too ({val.path.name}:{in_val[subject] + 1})"
        yield test.finding("error", "subject_in_val", message, row)


def _short(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
