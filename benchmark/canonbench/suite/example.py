"""Read examples: the paper's prefix *x* with its continuation(s) *y^A*, *y^B*, from JSONL rows to one table.

The table's columns are in ``COLUMNS``; general text is read into a table of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import regex

from canonbench.errors import CanonbenchError
from canonbench.records import read_jsonl
from canonbench.suite.spec import FileSpec, SubjectSpec

if TYPE_CHECKING:
    import datasets


class Example(NamedTuple):
    """A prefix and one or two continuations.

    ``suffix_a`` is the answer, the stereotype, or the right form. ``suffix_b`` is the other continuation of a pair loss
    (``she``, the wrong form); None for losses of one continuation.
    """

    prefix: str
    suffix_a: str
    suffix_b: str | None = None


COLUMNS = ("prefix", "suffix_a", "suffix_b", "subject", "clean", "origin")
"""Columns of an example table. ``clean`` is false if the audit flagged the row; ``origin`` is ``file:line``."""
PATTERN_SECONDS = 5.0
"""Time limit of a suite's regular expression over all rows of a file; a good one takes milliseconds."""


def read_rows(root: Path, file: FileSpec) -> list[dict[str, Any]]:
    """Read the rows of a file that the spec selects."""
    first, last = file.rows
    return read_jsonl(root / file.path)[first:last]


def text_of(row: dict[str, Any], key: str, path: Path, index: int) -> str:
    """Return the string under ``key``; CanonbenchError naming ``file:line`` if it is missing or not a string."""
    value = row.get(key)
    if not isinstance(value, str):
        problem = "is missing" if key not in row else f"must be a string, not {type(value).__name__}"
        raise CanonbenchError(f"{path}:{index + 1}: {key!r} {problem}")
    return value


def example(row: dict[str, Any], path: Path, index: int) -> Example:
    """Make an example from a row of the published format: ``{prefix, suffix}`` or ``{prefix, suffix1, suffix2}``.

    Raises:
        CanonbenchError: a field is missing, extra or not a string; ``file:line`` is named.
    """
    prefix = text_of(row, "prefix", path, index)
    pair = [key for key in ("suffix1", "suffix2") if key in row]
    if "suffix" in row and pair:
        raise CanonbenchError(
            f"{path}:{index + 1}: has both 'suffix' and {pair[0]!r}; a row has one or two continuations"
        )
    if "suffix" in row:
        return Example(prefix, text_of(row, "suffix", path, index))
    if pair:
        return Example(prefix, text_of(row, "suffix1", path, index), text_of(row, "suffix2", path, index))
    raise CanonbenchError(f"{path}:{index + 1}: needs 'suffix', or 'suffix1' and 'suffix2'")


def canonical_subjects(pattern: str, canonical: list[dict[str, Any]]) -> list[str]:
    """Return the subjects that the pattern's group matches in canonical prefixes, longest first.

    Raises:
        CanonbenchError: matching takes too long, as with a pattern such as (a+)+$, which backtracks exponentially.
    """
    end = time.monotonic() + PATTERN_SECONDS
    found = set()
    for row in canonical:
        try:
            left = max(end - time.monotonic(), 1e-3)  # not 0, which would mean no limit
            match = regex.search(pattern, str(row.get("prefix", "")), timeout=left)
        except TimeoutError as error:
            raise CanonbenchError(
                f"the suite's canonical_pattern {pattern!r} takes more than {PATTERN_SECONDS:g} s on the canonical "
                "examples; write it without repetitions inside repetitions"
            ) from error
        if match is not None and match.group(1):
            found.add(match.group(1))
    return sorted(found, key=lambda subject: (-len(subject), subject))


def subject_of(row: dict[str, Any], index: int, spec: SubjectSpec, subjects: list[str]) -> str:
    """Return the subject of a row, which names its cluster; a row without a known subject is its own cluster."""
    forms = [str(row.get(key, "")).split() for key in ("suffix1", "suffix2")]
    if spec.verb_forms and all(forms):
        return "|".join(sorted(words[0] for words in forms))
    for subject in subjects:
        # Not \b: a subject can begin or end with punctuation ("Yahoo!").
        if re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", row["prefix"], re.IGNORECASE):
            return subject
    for column in spec.columns:
        if isinstance(row.get(column), str):
            return str(row[column])
    return f"row {index}"


def example_table(
    root: Path, file: FileSpec, *, subject: SubjectSpec, subjects: list[str], unclean: Collection[int], arity: int
) -> datasets.Dataset:
    """Read the examples of a file into columns prefix, suffix_a, suffix_b (null if absent), subject, clean, origin.

    Args:
        root: the folder that the file's path is relative to.
        file: the file and its range of rows.
        subject: how to find each row's subject.
        subjects: canonical subjects, longest first.
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
    """Read general text into columns text and origin (``file:line``)."""
    columns: dict[str, list[Any]] = {"text": [], "origin": []}
    for file in files:
        path = root / file.path
        for index, row in enumerate(read_rows(root, file), start=file.rows[0]):
            columns["text"].append(text_of(row, "text", path, index))
            columns["origin"].append(f"{path}:{index + 1}")
    return _dataset(columns, {})


def _dataset(columns: dict[str, list[Any]], types: dict[str, str]) -> datasets.Dataset:
    import datasets  # noqa: PLC0415  (takes a second to import; --help must not pay it)

    # The types are explicit because an empty or all-null column would otherwise get the type "null".
    features = datasets.Features({name: datasets.Value(types.get(name, "string")) for name in columns})
    return datasets.Dataset.from_dict(columns, features=features)
