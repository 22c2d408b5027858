"""How many rows the published data set has, known from its manifest where the data set itself is not at hand."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from canonbench.suite.manifest import load_manifest
from canonbench.suite.paths import data_root
from canonbench.suite.spec import read_spec

PARTS = ("canonical", "evaluation", "hard_negatives")


class Counts(NamedTuple):
    """Of one version of the data set."""

    version: str
    rows: dict[tuple[str, str, str], int]
    """By task, split and part."""


@cache
def published_counts() -> Counts:
    """Of the version that this package describes; CanonbenchError if its own files are damaged."""
    spec = read_spec(data_root() / "published" / "suite.yaml")
    rows = {file.path: file.rows for file in load_manifest().files}
    found = {
        (name, split, part): count
        for name, task in spec.tasks.items()
        for split in ("val", "test")
        for part in PARTS
        if (of_split := getattr(task, split)) is not None
        and (count := rows.get(getattr(of_split, part).path)) is not None
    }
    return Counts(spec.version, found)
