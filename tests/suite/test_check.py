"""The checker as a whole: the embedded suite passes, the published one's audit is reproduced, nothing crashes it."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_suite import good, write, write_rows

from canonbench.files import data_root
from canonbench.suite.check import check_suite
from canonbench.suite.check.findings import PARTS, Finding, Part, PartName, Row, TaskText
from canonbench.suite.check.general import check_rows_promised
from canonbench.suite.check.tasks import third_person
from canonbench.suite.example import Example
from canonbench.suite.suite import Suite


def test_the_embedded_suite_keeps_every_promise() -> None:
    found = check_suite(Suite.load("mini"), mini_sizes=True)
    assert [f"{finding.level}: {finding}" for finding in found] == []


def test_the_embedded_suites_promises_are_held_against_a_suite_only_when_asked(tmp_path: Path) -> None:
    suite = Suite.load(write(tmp_path, good()))
    assert check_suite(suite, mini_sizes=False) == []
    found = {(finding.rule, finding.task) for finding in check_suite(suite, mini_sizes=True)}
    assert {("too_few", "country"), ("incomplete", None)} <= found


def mini_findings(folder: Path, tasks: dict[str, Any]) -> list[Finding]:
    return check_suite(Suite.load(write(folder, tasks)), mini_sizes=True)


@pytest.mark.parametrize(
    ("task", "part", "least"),
    [
        ("country", "canonical", 20),
        ("gender", "canonical", 10),
        ("gender", "evaluation", 60),
        ("verb", "hard_negatives", 40),
    ],
)
def test_the_embedded_suites_files_have_at_least_so_many_rows(task: str, part: PartName, least: int) -> None:
    for count in (least - 1, least):
        row = Row(0, {"subject": "x"}, Example("a", " b"), "x")
        parts = {
            ("val", name): Part(task, "val", name, Path("f"), [row] * (count if name == part else 60)) for name in PARTS
        }
        short = [finding.part for finding in check_rows_promised(task, TaskText(parts))]
        assert short == ([part] if count < least else [])


def test_the_embedded_suite_must_hold_all_tasks_subjects_and_dates(tmp_path: Path) -> None:
    tasks = good()
    del (
        tasks["verb/test"],
        tasks["gender/val"]["canonical"][0]["subject"],
        tasks["company/val"]["canonical"][0]["as_of"],
    )
    found = mini_findings(tmp_path, tasks)
    assert "task 'verb' has no test split" in {finding.message for finding in found}
    assert ("no_subject", "gender", 0) in {(finding.rule, finding.task, finding.row) for finding in found}
    assert [finding.level for finding in found if finding.rule == "undated"] == ["error"]


def test_every_subject_of_the_embedded_suite_is_asked_about_and_guards_are_of_taught_ones(tmp_path: Path) -> None:
    tasks = good()
    tasks["stereoset/val"]["canonical"].append(
        {"prefix": "An aspect of clown is:", "suffix": " sad", "subject": "clown"}
    )
    tasks["country/val"]["hard_negatives"][0]["subject"] = "Mali"
    found = mini_findings(tmp_path, tasks)
    wanted = {"not_asked": ("stereoset", "canonical", 1), "guards_nothing": ("country", "hard_negatives", 0)}
    assert {f.rule: (f.task, f.part, f.row) for f in found if f.rule in wanted} == wanted


def test_a_finding_is_one_line_that_an_editor_can_open() -> None:
    finding = Finding("error", "country", "val", "evaluation", 4, Path("a/b.jsonl"), "wrong", "rule")
    assert str(finding) == "a/b.jsonl:5: wrong"
    assert str(finding._replace(row=None)) == "a/b.jsonl: wrong"


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("walk", "walks"), ("carry", "carries"), ("play", "plays"), ("buy", "buys"), ("watch", "watches"),
        ("fix", "fixes"), ("tax", "taxes"), ("quiz", "quizzes"), ("go", "goes"), ("do", "does"),
        ("have", "has"), ("are", "is"), ("were", "was"), ("don't", "doesn't"), ("aren't", "isn't"),
    ],
)  # fmt: skip
def test_the_third_person_is_spelled_as_in_english(plural: str, singular: str) -> None:
    assert singular in third_person(plural)
    assert plural not in third_person(plural)


@pytest.mark.parametrize(
    ("plural", "other"), [("carry", "carrys"), ("walk", "walked"), ("watch", "watchs"), ("be", "is")]
)
def test_other_spellings_are_not_the_third_person(plural: str, other: str) -> None:
    assert other not in third_person(plural)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from(["prefix", "suffix", "suffix1", "suffix2", "subject", "other", "as_of", "text"])


@settings(max_examples=60, deadline=None)
@given(
    file=st.sampled_from([(key, part) for key, files in good().items() for part in files]),
    rows=st.lists(st.dictionaries(KEYS, ANY | st.text(max_size=30), max_size=9), max_size=4),
)
def test_whatever_a_file_holds_it_is_checked_without_a_crash(file: tuple[str, str], rows: list[dict[str, Any]]) -> None:
    tasks = good()
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), tasks)
        write_rows(root / f"{file[0]}-{file[1]}.jsonl", rows)
        found = check_suite(Suite.load(root), mini_sizes=True)
    assert all("\n" not in str(finding) for finding in found)


AGREE = {
    "company_not_in_prefix": ("subject_not_named", "company", "evaluation"),
    "group_not_before_answer": ("subject_not_named", "stereoset", "evaluation"),
    "double_space_at_boundary": ("prefix_space", "stereoset", "evaluation"),
    "identical_row_in_val": ("row_in_val", None, "evaluation"),
    "suffix_without_leading_space": ("suffix_space", "temporal", None),
    "wrong_form_is_past_tense": ("wrong_form_is_past", "verb", None),
}
"""Flags of the audit that one of the rules sees too: the rule, and where (None: everywhere) it means the same."""


@pytest.fixture
def audit() -> dict[str, dict[str, list[int]]]:
    flags: dict[str, dict[str, list[int]]] = json.loads((data_root() / "flags" / "published.json").read_text())["flags"]
    return flags


@functools.cache
def published_findings() -> list[Finding]:
    return check_suite(Suite.load("published"), mini_sizes=False)


@pytest.fixture
def found(published: Path) -> list[Finding]:
    return published_findings()


def flagged(audit: dict[str, dict[str, list[int]]], flag: str) -> set[tuple[str, int]]:
    return {(Path(file).name, row) for file, flags in audit.items() for row in flags.get(flag, ())}


def seen(found: list[Finding], rule: str, task: str | None, part: str | None) -> set[tuple[str, int | None]]:
    return {
        (finding.path.name, finding.row)
        for finding in found
        if finding.rule == rule and task in (None, finding.task) and part in (None, finding.part)
    }


@pytest.mark.parametrize("flag", AGREE)
def test_the_checker_finds_exactly_the_rows_of_the_audit(
    flag: str, found: list[Finding], audit: dict[str, dict[str, list[int]]]
) -> None:
    expected = flagged(audit, flag)
    assert expected
    assert seen(found, *AGREE[flag]) == expected


def test_a_country_left_out_is_found_where_the_audit_says_so_among_others(
    found: list[Finding], audit: dict[str, dict[str, list[int]]]
) -> None:
    expected = flagged(audit, "country_not_in_prefix_name_is_answer")
    assert expected
    assert seen(found, "subject_not_named", "country", "evaluation") > expected


def test_stale_stereotypes_are_found_except_one_that_was_taught_of_the_same_group(
    found: list[Finding], audit: dict[str, dict[str, list[int]]]
) -> None:
    missed = {("stereoset_eval_clear-test.jsonl", 145)}  # mathematicians are called smart by another row
    ours = seen(found, "answer_not_canonical", "stereoset", "evaluation")
    assert ours == flagged(audit, "stale_previous_row") - missed


def test_a_taught_ceo_in_a_hard_negative_is_found_as_by_the_audit(
    found: list[Finding], audit: dict[str, dict[str, list[int]]]
) -> None:
    expected = flagged(audit, "answer_is_canonical_answer_val") | flagged(audit, "answer_is_canonical_answer_test")
    assert seen(found, "answer_taught", "company", "hard_negatives") == expected


def test_a_capital_in_the_prefix_is_found_as_by_the_audit_where_it_is_a_whole_word(
    found: list[Finding], audit: dict[str, dict[str, list[int]]]
) -> None:
    ours, theirs = seen(found, "answer_in_prefix", "country", "evaluation"), flagged(audit, "capital_string_in_prefix")
    assert ours <= theirs
    # The audit also counts parts of words: Alger in Algeria, Aga in Agaña, Tunis in Tunisia, and other spellings.
    assert (len(ours), len(theirs)) == (18, 25)


def test_only_the_templated_tasks_of_the_published_suite_fail_for_repeated_text(found: list[Finding]) -> None:
    failed = {finding.task for finding in found if finding.rule == "repeated_text" and finding.level == "error"}
    assert failed == {"gender", "verb"}
