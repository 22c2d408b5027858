"""Rules for general text: its parts are there, whole, and disjoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from canonbench.errors import CanonbenchError
from canonbench.suite.check_text import malformed
from canonbench.suite.findings import Finding
from canonbench.suite.rows import read_rows, text_of
from canonbench.suite.spec import FileSpec
from canonbench.suite.suite import General, GeneralPart, Suite

PARTS: tuple[GeneralPart, ...] = tuple(part for part in get_args(GeneralPart) if part != "all")


@dataclass(frozen=True)
class Chunk:
    """One text of general text, and where it stands."""

    part: GeneralPart
    file: FileSpec
    index: int
    """0-based line."""
    text: str


def general_texts(suite: Suite) -> list[General]:
    """Every general text that the suite names, at hand or not."""
    return [General(name, suite.root, spec) for name, spec in suite.spec.general.items()]


def check_general(general: General) -> tuple[list[Chunk], list[Finding]]:
    """The chunks that can be read, and what is wrong."""
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
    """An error in one chunk."""
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
    """No chunk twice, whatever its whitespace: not in one part, and above all not in two."""
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        earlier = first.setdefault(" ".join(chunk.text.split()), chunk)
        if earlier is chunk:
            continue
        where = f"{earlier.part}, {earlier.file.path}:{earlier.index + 1}"
        rule = "duplicate_text" if earlier.part == chunk.part else "overlapping_parts"
        yield chunk_finding(general, rule, f"the same text stands in {where}", chunk)
