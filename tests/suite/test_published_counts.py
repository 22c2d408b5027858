"""The published data set's size, from the manifest: the numbers of the protocol."""

from __future__ import annotations

import pytest

from canonbench.suite.published import PARTS, published_counts
from canonbench.suite.suite import Suite

SIZES = {
    "country": ((119, 119), (582, 583), (116, 117)),
    "company": ((86, 86), (421, 425), (219, 221)),
    "gender": ((20, 20), (320, 360), (235, 231)),
    "stereoset": ((1053, 1053), (1053, 1053), (1053, 1053)),
    "temporal": ((75, 76), (452, 486), (389, 325)),
    "verb": ((240, 240), (360, 360), (720, 720)),
}
"""Rows of val and test: canonical, evaluation, hard negatives (docs/reference/protocol.md#2-tasks)."""


@pytest.mark.parametrize("task", SIZES)
def test_sizes_are_those_of_the_protocol(task: str) -> None:
    rows = published_counts().rows
    found = tuple(tuple(rows[task, split, part] for split in ("val", "test")) for part in PARTS)
    assert found == SIZES[task]


def test_they_are_those_of_the_files(published: object) -> None:
    suite = Suite.load("published")
    for (task, split, part), rows in published_counts().rows.items():
        assert len(getattr(suite.task(task).split(split), part)) == rows
