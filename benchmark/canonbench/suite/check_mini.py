"""What the embedded suite promises beyond what any suite must hold: its sizes, dates, and varied general text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from canonbench.suite.check_facts import is_day
from canonbench.suite.check_general import Chunk, chunk_finding
from canonbench.suite.check_text import PartName, TaskText, words_of
from canonbench.suite.findings import Finding
from canonbench.suite.suite import General, Suite
from canonbench.suite.tasks import TASKS

LEAST_ROWS: dict[PartName, int] = {"canonical": 20, "evaluation": 60, "hard_negatives": 40}
LEAST_CANONICAL = {"gender": 10}
LEAST_CHUNKS = 300
"""Over all parts of the general text."""
WORDS = (50, 112)
"""Stands for 60 to 150 tokens, which need a tokenizer. An estimate: the embedded chunks have 1.10 to 1.54 tokens of
SmolLM2's a word, 1.25 in the median, and 61 to 141 in all; at that median 50 words are 62 tokens and 112 are 140."""
SENTENCE = 5
"""Words from which on a sentence may not stand twice; "Yes, I do." may."""


def check_whole(suite: Suite) -> Iterator[Finding]:
    """All six tasks, both splits, general text, and the day on which all of it was true."""
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
    """As many rows as promised; each says its subject, and every subject is taught, asked for and guarded."""
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
    """Enough chunks, each of the promised length, none opening as another does or repeating its sentences."""
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
