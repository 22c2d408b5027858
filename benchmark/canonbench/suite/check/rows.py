"""Rules for the rows of any task: complete, unique, not revealing the answer, and with a taught subject.

``check_variety`` tests whether an evaluation file is naturalistic text or one template with names filled in. It
measures each file with subject and answers masked. The limits are between the values of freely written text and of
templates. In the released data set, the templated files (gender, verb) have 93-95 % masked copies and 0.04-0.06
distinct 4-grams; temporal, whose prefixes are increasingly long beginnings of the same articles, has 0.20; the others
have 0.72-0.91, with up to 8 % of rows sharing an opening and 14 % an ending ("is none other than"). Text written row by
row, such as the embedded suite's, has at least 0.98 distinct, no opening above 2 % and no ending above 5 %.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from canonbench.suite.check.findings import PARTS, Finding, Level, Part, Row, TaskText, any_of, stands_in, words_of


def check_rows(text: TaskText) -> Iterator[Finding]:
    """Apply the rules that hold for the rows of every task."""
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
    if part.task == "gender" and part.name == "hard_negatives":  # these give the pronoun on purpose
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
    """Check that no row and no taught subject is in both splits, because test must be new to what is tuned on val."""
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


EDGE = 4  # words of an opening or an ending; also the n of the distinct n-grams


class _Limits(NamedTuple):
    """Limits as shares of a file's rows; up to ``rows`` rows of one kind are always allowed."""

    warn: float
    fail: float
    rows: int


COPIES = _Limits(warn=0.0, fail=0.10, rows=0)
OPENING = _Limits(warn=0.03, fail=0.25, rows=2)
ENDING = _Limits(warn=0.05, fail=0.25, rows=3)
DISTINCT_WARN, DISTINCT_FAIL = 0.5, 0.1  # each 4-gram occurs twice, or ten times, on average


def check_variety(part: Part) -> Iterator[Finding]:
    """Check one file for masked copies, repeated openings and endings, and the ratio of distinct 4-grams."""
    if not part.rows:
        return
    masked = [_masked(row) for row in part.rows]
    yield from _check_copies(part, masked)
    yield from _check_edges(part, "repeated_opening", "begin", [words[:EDGE] for words in masked], OPENING)
    yield from _check_edges(part, "repeated_ending", "end", [words[-EDGE:] for words in masked], ENDING)
    yield from _check_distinct(part, masked)


def _masked(row: Row) -> tuple[str, ...]:
    hidden = [text for text in (row.subject, *row.answers) if text]
    return tuple(words_of(any_of(hidden).sub("_", row.example.prefix) if hidden else row.example.prefix))


def _check_copies(part: Part, masked: list[tuple[str, ...]]) -> Iterator[Finding]:
    first: dict[tuple[str, ...], Row] = {}
    pairs = [(row, first.setdefault(words, row)) for row, words in zip(part.rows, masked, strict=True)]
    copies = [(row, earlier) for row, earlier in pairs if earlier is not row]
    if copies:
        row, earlier = copies[0]
        what = f"copy another's prefix once the subject is masked (this one that of line {earlier.index + 1})"
        yield from _judge(part, "masked_copy", what, COPIES, count=len(copies), row=row)


def _check_edges(part: Part, rule: str, verb: str, edges: list[tuple[str, ...]], limits: _Limits) -> Iterator[Finding]:
    for words, count in Counter(edges).items():
        what = f"{verb} with {' '.join(words)!r}"
        yield from _judge(part, rule, what, limits, count=count, row=part.rows[edges.index(words)])


def _judge(part: Part, rule: str, what: str, limits: _Limits, *, count: int, row: Row) -> Iterator[Finding]:
    share = count / len(part.rows)
    if count > limits.rows and share > limits.warn:
        level: Level = "error" if share > limits.fail else "warning"
        yield part.finding(level, rule, f"{count} of {len(part.rows)} rows {what}", row)


def _check_distinct(part: Part, masked: list[tuple[str, ...]]) -> Iterator[Finding]:
    grams = [words[start : start + EDGE] for words in masked for start in range(len(words) - EDGE + 1)]
    if grams and (ratio := len(set(grams)) / len(grams)) < DISTINCT_WARN:
        level: Level = "error" if ratio < DISTINCT_FAIL else "warning"
        yield part.finding(level, "repeated_text", f"only {ratio:.0%} of the sequences of {EDGE} words are distinct")
