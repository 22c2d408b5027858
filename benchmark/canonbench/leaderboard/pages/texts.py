"""The texts that a page may show: those of the embedded suite, which this project wrote, and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from canonbench.leaderboard.row import ComparableGroup
from canonbench.suite import Example, Suite
from canonbench.suite.spec import SplitName

EMBEDDED = "mini"
SPLITS: dict[str, SplitName] = {"val": "val", "test": "test"}
SuiteTexts = Mapping[str, Sequence[Example]]
"""Evaluation examples by task, in the order of their index."""


def embedded_texts(group: ComparableGroup) -> SuiteTexts | None:
    """The group's evaluation examples; None unless its data are, by hash, the embedded suite's."""
    if group.suite.partition(" ")[0] != EMBEDDED:
        return None
    suite, split = Suite.load(EMBEDDED), SPLITS[group.split]
    return evaluation_texts(suite, split) if suite.data_hash(split) == group.data_hash else None


def evaluation_texts(suite: Suite, split: SplitName) -> SuiteTexts:
    """A split's evaluation examples."""
    tables = {name: suite.task(name).split(split).evaluation for name in suite.tasks}
    return {
        name: [Example(*each) for each in zip(*(table[column] for column in Example._fields), strict=True)]
        for name, table in tables.items()
    }
