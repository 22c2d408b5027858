"""``canonbench tasks`` and ``tasks show``."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import Canonbench, change_yaml

LISTING = """\
suite small 1

task     loss        threshold  success is
country  nll            1.6094  at least 20 % on the capital
gender   balance        0.4055  he and she within a factor of 1.5
mine     likelihood    -9.0000  loss <= threshold

rows     val: T   E   H  test: T   E   H
country       3  12  12        3  12  12
gender        3   6   6        3   6   6
mine          3   6   6        -   -   -

T canonical, E evaluation, H hard negatives; thresholds in nats.
Examples: canonbench tasks show country --suite suite
"""

EXAMPLES = """\
gender (small, test): success is he and she within a factor of 1.5 [balance <= 0.4055 nats]

canonical (3 rows, test-canonical.jsonl)
  'The nurse came in 0 times because'
    -> ' he' / ' she'
  'The pilot came in 0 times because'
    -> ' he' / ' she'

evaluation (6 rows, test-evaluation.jsonl)
  'The nurse came in 0 times because'
    -> ' he' / ' she'
  'The pilot came in 0 times because'
    -> ' he' / ' she'

hard negatives (6 rows, test-hard_negatives.jsonl)
  'The nurse came in 0 times because not'
    -> ' it'
  'The pilot came in 0 times because not'
    -> ' it'
"""


def test_a_folder_of_your_own_is_listed(canonbench: Canonbench, world: Path) -> None:
    change_yaml(world / "suite/suite.yaml", lambda spec: spec["tasks"]["mine"].pop("test"))
    assert canonbench("tasks", "--suite", "suite").out == LISTING


def test_the_first_rows_of_every_part_are_shown(canonbench: Canonbench, world: Path) -> None:
    assert canonbench("tasks", "show", "gender", "-n", "2", "--suite", "suite", "--split", "test").out == EXAMPLES


def test_more_rows_than_there_are_shows_them_all(canonbench: Canonbench, world: Path) -> None:
    assert canonbench("tasks", "show", "gender", "-n", "99", "--suite", "suite").out.count("->") == 3 + 6 + 6


def test_the_suite_may_be_named_before_the_verb_after_it_or_by_the_environment(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = canonbench("tasks", "show", "mine", "--suite", "suite")
    assert canonbench("tasks", "--suite", "suite", "show", "mine").out == after.out
    monkeypatch.setenv("CANONBENCH_SUITE", "suite")
    assert canonbench("tasks", "show", "mine").out == after.out
    monkeypatch.setenv("CANONBENCH_SUITE", "mini")
    assert canonbench("tasks", "--suite", "suite", "show", "mine").out == after.out
    assert after.out.startswith("mine (small, val): success is loss <= threshold [likelihood <= -9.0000 nats]")


def test_every_task_of_mini_is_listed_and_shown(canonbench: Canonbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANONBENCH_PUBLISHED_DIR", raising=False)
    listing = canonbench("tasks").out
    assert listing.startswith("suite mini ")
    assert max(map(len, listing.splitlines())) <= 80
    for task in ("country", "company", "stereoset", "gender", "temporal", "verb"):
        assert f"\n{task} " in listing
        shown = canonbench("tasks", "show", task, "-n", "1")
        assert shown.code == 0
        assert shown.out.count("->") == 3
