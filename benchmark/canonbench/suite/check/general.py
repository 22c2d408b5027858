"""Rules for general text (its parts exist, are complete and are disjoint) and for the embedded suite.

The embedded suite also promises sizes, dates and varied general text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from canonbench.errors import CanonbenchError
from canonbench.suite.check.findings import Finding, PartName, TaskText, malformed, words_of
from canonbench.suite.check.tasks import is_day
from canonbench.suite.example import read_rows, text_of
from canonbench.suite.spec import FileSpec
from canonbench.suite.suite import General, GeneralPart, Suite
from canonbench.suite.tasks import TASKS

PARTS: tuple[GeneralPart, ...] = tuple(part for part in get_args(GeneralPart) if part != "all")


@dataclass(frozen=True)
class Chunk:
    """One chunk of general text and its location."""

    part: GeneralPart
    file: FileSpec
    index: int
    """0-based line."""
    text: str


def general_texts(suite: Suite) -> list[General]:
    """Return every general text that the suite names, whether or not its files exist."""
    return [General(name, suite.root, spec) for name, spec in suite.spec.general.items()]


def check_general(general: General) -> tuple[list[Chunk], list[Finding]]:
    """Return the chunks that can be read, and the findings."""
    if not general.at_hand:
        path = general.root / general.spec.val.path
        message = f"general text {general.name!r} is not at hand and was not checked"
        return [], [Finding("note", None, None, general.name, None, path, message, "not_at_hand")]
    chunks: list[Chunk] = []
    found: list[Finding] = []
    for part in PARTS:
        if getattr(general.spec, part) is not None:
            found += _read(general, part, chunks)
    found += _check_disjoint(general, chunks)
    return chunks, found


def chunk_finding(general: General, rule: str, message: str, chunk: Chunk) -> Finding:
    """Make an error about one chunk."""
    path = general.root / chunk.file.path
    return Finding("error", None, chunk.part, general.name, chunk.index, path, message, rule)


def _read(general: General, part: GeneralPart, chunks: list[Chunk]) -> Iterator[Finding]:
    (file,) = general.files(part)
    path = general.root / file.path
    try:
        lines = read_rows(general.root, file)
    except CanonbenchError as error:
        yield malformed(None, part, general.name, path, error)
        return
    if not lines:
        yield Finding("error", None, part, general.name, None, path, "no rows", "empty_file")
    for index, fields in enumerate(lines, file.rows[0]):
        try:
            chunk = Chunk(part, file, index, text_of(fields, "text", path, index))
        except CanonbenchError as error:
            yield malformed(None, part, general.name, path, error)
            continue
        if chunk.text.strip():
            chunks.append(chunk)
        else:
            yield chunk_finding(general, "empty_text", "the text is empty", chunk)


def _check_disjoint(general: General, chunks: list[Chunk]) -> Iterator[Finding]:
    """Check that no chunk occurs twice, in one part or in two; differences in whitespace are ignored."""
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        earlier = first.setdefault(" ".join(chunk.text.split()), chunk)
        if earlier is chunk:
            continue
        where = f"{earlier.part}, {earlier.file.path}:{earlier.index + 1}"
        rule = "duplicate_text" if earlier.part == chunk.part else "overlapping_parts"
        yield chunk_finding(general, rule, f"the same text stands in {where}", chunk)


LEAST_ROWS: dict[PartName, int] = {"canonical": 20, "evaluation": 60, "hard_negatives": 40}
LEAST_CANONICAL = {"gender": 10}
LEAST_CHUNKS = 300
"""Fewest chunks over all parts of the general text."""
WORDS = (50, 112)
"""Fewest and most words of a chunk. They replace 60 to 150 tokens, which would need a tokenizer. The embedded chunks
have 1.10 to 1.54 SmolLM2 tokens per word, 1.25 in the median, and 61 to 141 in total; at that median 50 words are 62
tokens and 112 are 140."""
SENTENCE = 5
"""Fewest words of a sentence that may not occur twice; "Yes, I do." may."""


def check_whole(suite: Suite) -> Iterator[Finding]:
    """Check that the suite has all six tasks, both splits, general text, and the day on which its facts were true."""
    path = suite.root / "suite.yaml"
    missing = [
        f"task {name!r} has no {split} split"
        for name in TASKS
        for split in ("val", "test")
        if name not in suite.tasks or split not in suite.tasks[name].splits
    ]
    missing += [] if suite.spec.general else ["no general text"]
    missing += [] if is_day(suite.spec.as_of) else ["'as_of' must say the day on which its facts were true"]
    for message in missing:
        yield Finding("error", None, None, None, None, path, message, "incomplete")


def check_rows_promised(task: str, text: TaskText) -> Iterator[Finding]:
    """Check row counts, and that evaluation covers all canonical subjects and hard negatives use no others."""
    for part in text.parts.values():
        least = LEAST_ROWS[part.name]
        if part.name == "canonical":
            least = LEAST_CANONICAL.get(task, least)
        if 0 < len(part.rows) < least:
            yield part.finding("error", "too_few", f"{len(part.rows)} rows, fewer than {least}")
        for row in part.rows:
            if not isinstance(row.fields.get("subject"), str):
                yield part.finding("error", "no_subject", "the row does not say its 'subject'", row)
    for canonical in text.named("canonical"):
        asked = {row.subject for row in text.beside(canonical, "evaluation").rows}
        for row in canonical.rows:
            if row.subject not in asked:
                yield canonical.finding("error", "not_asked", f"no evaluation row asks about {row.subject!r}", row)
        taught = {row.subject for row in canonical.rows}
        guards = text.beside(canonical, "hard_negatives")
        for row in guards.rows:
            if row.subject not in taught:
                yield guards.finding("error", "guards_nothing", f"no canonical example is about {row.subject!r}", row)


def check_prose(general: General, chunks: Sequence[Chunk]) -> Iterator[Finding]:
    """Check the number and length of chunks, and that no two share an opening or a sentence."""
    if len(chunks) < LEAST_CHUNKS:
        path = general.root / general.spec.val.path
        message = f"{len(chunks)} chunks in all parts, fewer than {LEAST_CHUNKS}"
        yield Finding("error", None, None, general.name, None, path, message, "too_few")
    openings: dict[tuple[str, ...], Chunk] = {}
    sentences: dict[tuple[str, ...], Chunk] = {}
    for chunk in chunks:
        words = words_of(chunk.text)
        if not WORDS[0] <= len(words) <= WORDS[1]:
            message = f"{len(words)} words, not {WORDS[0]} to {WORDS[1]}"
            yield chunk_finding(general, "length", message, chunk)
        if (earlier := openings.setdefault(tuple(words[:3]), chunk)) is not chunk:
            message = f"begins with the same three words as {earlier.file.path}:{earlier.index + 1}"
            yield chunk_finding(general, "repeated_opening", message, chunk)
        for sentence in re.split(r"(?<=[.!?])\W*\s", chunk.text):
            spoken = tuple(words_of(sentence))
            if len(spoken) >= SENTENCE and (earlier := sentences.setdefault(spoken, chunk)) is not chunk:
                message = f"repeats a sentence of {earlier.file.path}:{earlier.index + 1}"
                yield chunk_finding(general, "repeated_sentence", message, chunk)
