"""Is evaluation text naturalistic, or one template with names filled in?

Measured with subject and answers masked, per evaluation file. The limits lie between what free-written text
and templates measure. Of the released data set's files, the templated ones (gender, verb) have 93-95 % masked
copies and 0.04-0.06 distinct 4-grams; temporal, whose prefixes are longer and longer beginnings of the same
articles, 0.20; the others 0.72-0.91, with up to 8 % of rows opening and 14 % ending alike ("is none other
than"). Text written row by row, as the embedded suite's, has 0.98 distinct or more,
no opening above 2 % and no ending above 5 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from canonbench.suite.check_text import Part, Row, any_of, words_of
from canonbench.suite.findings import Finding, Level

EDGE = 4  # words of an opening or an ending; also the n of the distinct n-grams


class _Limits(NamedTuple):
    """Shares of a file's rows; ``rows`` of one kind are never too many."""

    warn: float
    fail: float
    rows: int


COPIES = _Limits(warn=0.0, fail=0.10, rows=0)
OPENING = _Limits(warn=0.03, fail=0.25, rows=2)
ENDING = _Limits(warn=0.05, fail=0.25, rows=3)
DISTINCT_WARN, DISTINCT_FAIL = 0.5, 0.1  # each 4-gram stands twice, ten times on average


def check_variety(part: Part) -> Iterator[Finding]:
    """Masked copies, repeated openings and endings, and the ratio of distinct 4-grams of one file."""
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
