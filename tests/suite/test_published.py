"""The published suite as it really is: numbers of rows, clean rows, duplicates, subjects. Skipped without the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonbench.suite.suite import Suite

SIZES = {  # canonical, evaluation, hard negatives; (val, test): docs/reference/protocol.md#2-tasks
    "country": ((119, 119), (582, 583), (116, 117)),
    "company": ((86, 86), (421, 425), (219, 221)),
    "gender": ((20, 20), (320, 360), (235, 231)),
    "stereoset": ((1053, 1053), (1053, 1053), (1053, 1053)),
    "temporal": ((75, 76), (452, 486), (389, 325)),
    "verb": ((240, 240), (360, 360), (720, 720)),
}
UNCLEAN = {  # evaluation rows, (val, test): docs/reference/protocol.md#6-rows
    "country": (38, 35),
    "company": (49, 51),
    "gender": (0, 0),
    "stereoset": (15, 9),
    "temporal": (0, 7),
    "verb": (42, 36),
}
IN_BOTH_SPLITS = {"stereoset": 54, "temporal": 7}  # evaluation rows of test that stand in val word for word
SUBJECTS = {"country": 119, "company": 86, "gender": 20, "verb": 30}  # behaviours of the test evaluation rows, at most


@pytest.fixture
def suite(published: Path) -> Suite:
    del published
    return Suite.load("published")


@pytest.mark.parametrize("task", SIZES)
def test_the_published_files_have_the_known_numbers_of_rows_and_clean_rows(suite: Suite, task: str) -> None:
    for side, split in enumerate(("val", "test")):
        own = suite.task(task).split(split)
        parts = (own.canonical, own.evaluation, own.hard_negatives)
        assert [len(part) for part in parts] == [size[side] for size in SIZES[task]]
        assert sum(not clean for clean in own.evaluation["clean"]) == UNCLEAN[task][side]
        assert all(own.hard_negatives["clean"])


@pytest.mark.parametrize("task", SIZES)
def test_rows_that_stand_in_both_splits_are_known(suite: Suite, task: str) -> None:
    val, test = ({tuple(row) for row in rows(suite, task, split)} for split in ("val", "test"))
    twice = [row for row in rows(suite, task, "test") if tuple(row) in val]
    assert len(twice) == IN_BOTH_SPLITS.get(task, 0)
    assert test


def rows(suite: Suite, task: str, split: str) -> list[tuple[str, ...]]:
    table = suite.task(task).split(split).evaluation
    return list(zip(table["prefix"], table["suffix_a"], table["suffix_b"], strict=True))


@pytest.mark.parametrize("task", SUBJECTS)
def test_every_evaluation_row_belongs_to_a_subject_that_was_taught(suite: Suite, task: str) -> None:
    own = suite.task(task).split("test")
    taught = set(own.canonical["subject"])
    asked = set(own.evaluation["subject"])
    assert len(asked) <= SUBJECTS[task]
    assert asked <= taught or task == "verb"  # verb: a behaviour is the pair of forms


def test_general_text_is_cut_where_the_protocol_says(suite: Suite) -> None:
    general = suite.general("openwebtext-100")
    counts = {part: len(general.texts(part)) for part in ("regularization", "val", "test", "all")}
    assert counts == {"regularization": 1000, "val": 1000, "test": 2007, "all": 3007}
    first = general.texts("test")["origin"][0]
    assert first.endswith("val100-val.jsonl:2001")


def test_a_missing_large_file_is_not_the_default_and_says_how_to_get_it(suite: Suite) -> None:
    if suite.general("openwebtext-100") is not None and not (suite.root / "data/val-chunked.jsonl").exists():
        assert suite.general().name == "openwebtext-100"
        with pytest.raises(Exception, match="canonbench data fetch published"):
            suite.general("openwebtext-500")
