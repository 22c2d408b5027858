"""The texts that a page may show: those of the embedded suite, which this project wrote, and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from canonbench.leaderboard.row import ComparableGroup
from canonbench.suite import Example, Suite
from canonbench.suite.spec import SplitName

EMBEDDED = "mini"


def embedded_texts(group: ComparableGroup) -> Mapping[str, Sequence[Example]] | None:
    """The group's evaluation examples by task; None unless its data are, by hash, the embedded suite's."""
    if group.suite.partition(" ")[0] != EMBEDDED:
        return None
    suite = Suite.load(EMBEDDED)
    split: SplitName = "val" if group.split == "val" else "test"
    if suite.data_hash(split) != group.data_hash:
        return None
    tables = {name: suite.task(name).split(split).evaluation for name in suite.tasks}
    return {
        name: [Example(*each) for each in zip(*(table[column] for column in Example._fields), strict=True)]
        for name, table in tables.items()
    }
