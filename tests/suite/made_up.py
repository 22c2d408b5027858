"""A small made-up data set and its manifest."""

from __future__ import annotations

import hashlib
import random

from canonbench.suite.published import Manifest, PublishedFile

GROUPS = {
    "data/tea/split/tea-val.jsonl": "tasks",
    "data/tea/split/tea-test.jsonl": "tasks",
    "data/short.jsonl": "openwebtext-100",
    "data/large.jsonl": "openwebtext-500",
}
LARGE = "data/large.jsonl"
TEST = "data/tea/split/tea-test.jsonl"


def contents() -> dict[str, bytes]:
    """Text by path. Some files are longer than the 64 KiB that a transfer moves at a time."""
    draw = random.Random(7)
    sizes = {TEST: 300_000, LARGE: 200_000}
    return {path: draw.randbytes(sizes.get(path, 900)) for path in GROUPS}


def described(path: str, body: bytes, *, known: bool = True) -> PublishedFile:
    """The manifest's entry; ``known=False`` leaves out all but the git blob id, as for the real large files."""
    return PublishedFile(
        path=path,
        group=GROUPS.get(path, "tasks"),
        bytes=len(body) if known else None,
        sha256=hashlib.sha256(body).hexdigest() if known else None,
        git_blob=hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest(),
        rows=None,
    )


def manifest_of(files: dict[str, bytes]) -> Manifest:
    entries = tuple(described(path, body, known=path != LARGE) for path, body in files.items())
    return Manifest(repository="made/up", commit="0123456789abcdef" * 2 + "01234567", url="{path}", files=entries)
