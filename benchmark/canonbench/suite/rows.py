"""From a file's rows to one table of examples: prefix, continuations, subject, clean."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canonbench.errors import CanonbenchError
from canonbench.suite.example import Example
from canonbench.suite.jsonl import read_jsonl, text_of
from canonbench.suite.spec import FileSpec, SubjectSpec

if TYPE_CHECKING:
    import datasets


COLUMNS = ("prefix", "suffix_a", "suffix_b", "subject", "clean", "origin")
"""Of an example table. ``clean`` is false where the audit flagged the row; ``origin`` is ``file:line``."""


def read_rows(root: Path, file: FileSpec) -> list[dict[str, Any]]:
    """The rows of a file that the spec asks for."""
    first, last = file.rows
    return read_jsonl(root / file.path)[first:last]


def example(row: dict[str, Any], path: Path, index: int) -> Example:
    """A row of the published format: ``{prefix, suffix}`` or ``{prefix, suffix1, suffix2}``."""
    prefix = text_of(row, "prefix", path, index)
    if "suffix" in row:
        return Example(prefix, text_of(row, "suffix", path, index))
    if "suffix1" in row or "suffix2" in row:
        return Example(prefix, text_of(row, "suffix1", path, index), text_of(row, "suffix2", path, index))
    raise CanonbenchError(f"{path}:{index + 1}: needs 'suffix', or 'suffix1' and 'suffix2'")


def canonical_subjects(pattern: str, canonical: list[dict[str, Any]]) -> list[str]:
    """The subjects that a pattern's group finds in canonical prefixes, longest first."""
    found = {match.group(1) for row in canonical if (match := re.search(pattern, str(row.get("prefix", ""))))}
    return sorted(found, key=lambda subject: (-len(subject), subject))


def subject_of(row: dict[str, Any], index: int, spec: SubjectSpec, subjects: list[str]) -> str:
    """The cluster of a row; a row whose subject cannot be told is a cluster of its own."""
    forms = [str(row.get(key, "")).split() for key in ("suffix1", "suffix2")]
    if spec.verb_forms and all(forms):
        return "|".join(sorted(words[0] for words in forms))
    for subject in subjects:
        # Not \b: a subject may itself begin or end with punctuation ("Yahoo!").
        if re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", row["prefix"], re.IGNORECASE):
            return subject
    for column in spec.columns:
        if isinstance(row.get(column), str):
            return str(row[column])
    return f"row {index}"


def example_table(
    root: Path, file: FileSpec, *, subject: SubjectSpec, subjects: list[str], unclean: Collection[int], arity: int
) -> datasets.Dataset:
    """The examples of a file as columns prefix, suffix_a, suffix_b (null where there is one), subject, clean, origin.

    Args:
        unclean: 0-based rows that the audit flagged.
        arity: continuations that the task's loss takes (1 or 2).

    Raises:
        CanonbenchError: a row is malformed or has too few continuations; ``file:line`` is named.
    """
    path = root / file.path
    columns: dict[str, list[Any]] = {key: [] for key in COLUMNS}
    for index, row in enumerate(read_rows(root, file), start=file.rows[0]):
        prefix, suffix_a, suffix_b = example(row, path, index)
        if arity > 1 and suffix_b is None:
            raise CanonbenchError(f"{path}:{index + 1}: this task's loss compares 'suffix1' with 'suffix2'")
        cluster = subject_of(row, index, subject, subjects)
        values = (prefix, suffix_a, suffix_b, cluster, index not in unclean, f"{path}:{index + 1}")
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return _dataset(columns, {"clean": "bool"})


def text_table(root: Path, files: tuple[FileSpec, ...]) -> datasets.Dataset:
    """General text as columns text and origin (``file:line``)."""
    columns: dict[str, list[Any]] = {"text": [], "origin": []}
    for file in files:
        path = root / file.path
        for index, row in enumerate(read_rows(root, file), start=file.rows[0]):
            columns["text"].append(text_of(row, "text", path, index))
            columns["origin"].append(f"{path}:{index + 1}")
    return _dataset(columns, {})


def _dataset(columns: dict[str, list[Any]], types: dict[str, str]) -> datasets.Dataset:
    import datasets  # noqa: PLC0415  (takes a second to import; --help must not pay it)

    # The types are stated since an empty or all-null column would otherwise get the type "null".
    features = datasets.Features({name: datasets.Value(types.get(name, "string")) for name in columns})
    return datasets.Dataset.from_dict(columns, features=features)
