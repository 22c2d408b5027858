"""JSONL, read strictly: a bad line is named by file and line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSONL file.

    Raises:
        CanonbenchError: the file cannot be read, or a line is not a JSON object (``file:line`` is named).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror}") from error
    rows = []
    # Split at "\n" alone: str.splitlines would also cut at U+2028 and friends, which stand in real text.
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CanonbenchError(f"{path}:{number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise CanonbenchError(f"{path}:{number}: a row must be a JSON object, this is a {type(row).__name__}")
        rows.append(row)
    return rows


def text_of(row: dict[str, Any], key: str, path: Path, index: int) -> str:
    """The string under ``key``; CanonbenchError naming ``file:line`` if it is missing or not a string."""
    value = row.get(key)
    if not isinstance(value, str):
        problem = "is missing" if key not in row else f"must be a string, not {type(value).__name__}"
        raise CanonbenchError(f"{path}:{index + 1}: {key!r} {problem}")
    return value


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror}") from error
