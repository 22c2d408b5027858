"""One broken row for every rule; nothing else is found, and it is found where it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_suite import Files, good, write

from canonbench.suite.check import check_suite
from canonbench.suite.suite import Suite

Rows = list[dict[str, Any]]


class Case(NamedTuple):
    """A change of one row (0 unless told) of one file, and what must be found there, and nowhere else."""

    rule: str
    file: str
    change: dict[str, Any]
    level: str = "error"
    row: int = 0
    also: tuple[str, ...] = ()


CASES = [
    Case("malformed", "country/val-evaluation", {"prefix": 3}),
    Case("malformed", "country/val-evaluation", {"suffix": None}),
    Case("malformed", "gender/test-canonical", {"suffix1": None}, also=("no_canonical",)),
    Case("empty_prefix", "country/test-hard_negatives", {"prefix": " "}),
    Case("empty_suffix", "country/test-hard_negatives", {"suffix": ""}),
    Case("prefix_space", "country/val-hard_negatives", {"prefix": "Its second city is "}, "warning"),
    Case("suffix_space", "country/val-hard_negatives", {"suffix": "Moundou"}, "warning"),
    Case("suffix_space", "country/val-hard_negatives", {"suffix": "  Moundou"}, "warning"),
    Case("equal_suffixes", "verb/val-evaluation", {"suffix2": " carries the bags."}, also=("not_agreement",)),
    Case("answer_in_prefix", "country/val-evaluation", {"prefix": "N'DJAMENA, in Chad, or"}),
    Case("answer_in_prefix", "country/val-hard_negatives", {"prefix": "Moundou, in Chad, is", "suffix": " Moundou."}),
    Case("answer_in_prefix", "gender/val-evaluation", {"prefix": "Was the pilot a he? If so,"}, also=("gender_given",)),
    Case("answer_in_prefix", "company/val-hard_negatives", {"prefix": "Leo Brandt is"}),
    Case("no_canonical", "country/val-evaluation", {"subject": "Mali", "prefix": "In Mali stands"}),
    Case("subject_not_named", "country/val-evaluation", {"prefix": "The Chadian head of state lives in"}),
    Case("subject_not_named", "company/test-evaluation", {"prefix": "Its clients all know"}),
    Case("subject_not_named", "stereoset/val-evaluation", {"prefix": "People like that are"}),
    Case("answer_not_canonical", "country/val-evaluation", {"suffix": " Moundou"}),
    Case("answer_is_canonical", "country/test-hard_negatives", {"suffix": " Lima"}),
    Case("subject_taught", "company/val-hard_negatives", {"other": "Quill Bank"}),
    Case("subject_taught", "temporal/test-hard_negatives", {"other": "Hera"}),
    Case("subject_taught", "temporal/val-hard_negatives", {"other": None}),
    Case("answer_taught", "company/val-hard_negatives", {"suffix": " Ada Lindqvist"}),
    Case("not_a_date", "company/val-canonical", {"as_of": "January 2025"}),
    Case("not_a_date", "temporal/val-evaluation", {"as_of": "2024-02-30"}),
    Case("not_a_date", "temporal/val-evaluation", {"as_of": "20241231"}),
    Case("undated", "temporal/val-canonical", {"as_of": None}, "warning"),
    Case("undated", "company/val-hard_negatives", {"as_of": None}, "warning"),
    Case("stereotype_in_definition", "stereoset/val-hard_negatives", {"suffix": " a quiet reader"}),
    Case("stereotype_in_definition", "stereoset/val-hard_negatives", {"prefix": "The quiet librarian is"}),
    Case("not_he_and_she", "gender/val-canonical", {"suffix2": " they"}),
    Case("not_he_or_she", "gender/val-hard_negatives", {"suffix": " they"}),
    Case("gender_given", "gender/test-evaluation", {"prefix": "Nobody helped the nurse, a tall woman, so"}),
    Case("gender_not_given", "gender/test-hard_negatives", {"prefix": "The nurse rolled up both sleeves before"}),
    Case("gender_not_given", "gender/test-hard_negatives", {"prefix": "The nurse rolled up her sleeves and then"}),
    Case("more_than_the_verb", "verb/val-evaluation", {"suffix2": " carry the bag."}),
    Case("not_agreement", "verb/val-evaluation", {"suffix2": " carried the bags."}),
    Case(
        "wrong_form_is_past",
        "verb/test-canonical",
        {"suffix1": " shuts it.", "suffix2": " shut it.", "subject": "shut"},
    ),
    Case("other_words", "verb/val-hard_negatives", {"suffix": " walk."}),
]


def apply(tasks: dict[str, Files], case: Case) -> None:
    where, part = case.file.rsplit("-", 1)
    row = tasks[where][part][case.row]
    row.update(case.change)
    for key in [key for key, value in case.change.items() if value is None]:
        del row[key]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.file}")
def test_each_rule_finds_its_row_and_nothing_else(case: Case, tmp_path: Path) -> None:
    tasks = good()
    apply(tasks, case)
    found = check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False)
    assert {finding.rule for finding in found} == {case.rule, *case.also}
    finding = next(finding for finding in found if finding.rule == case.rule)
    assert finding.level == case.level
    assert finding.path == tmp_path / f"{case.file}.jsonl"
    assert (finding.task, finding.split) == tuple(case.file.split("-")[0].split("/"))
    assert finding.row in (case.row, None)


def test_a_good_suite_has_no_findings(tmp_path: Path) -> None:
    assert check_suite(Suite.load(write(tmp_path, good())), mini_sizes=False) == []


def duplicate(tasks: dict[str, Files]) -> None:
    tasks["country/val"]["hard_negatives"] *= 2


def copy_from_val(tasks: dict[str, Files]) -> None:
    tasks["verb/test"]["hard_negatives"] += tasks["verb/val"]["hard_negatives"]


def same_subject(tasks: dict[str, Files]) -> None:
    tasks["stereoset/test"]["canonical"] += [
        {"prefix": "One thing about a librarian is", "suffix": suffix, "subject": "librarian"}
        for suffix in (" calm", " tall")
    ]


def empty(tasks: dict[str, Files]) -> None:
    tasks["temporal/val"]["hard_negatives"] = []


def only_she(tasks: dict[str, Files]) -> None:
    tasks["gender/val"]["hard_negatives"] = [
        {"prefix": f"On day {day} the pilot forgot her cap, and", "suffix": " she", "subject": "pilot"}
        for day in range(10)
    ]


def mostly_singular(tasks: dict[str, Files]) -> None:
    one, many = tasks["verb/test"]["canonical"]
    tasks["verb/test"]["canonical"] = [{**one, "prefix": f"Person {number}"} for number in range(7)]
    tasks["verb/test"]["canonical"] += [{**many, "prefix": f"People {number}"} for number in range(3)]


def other_verbs(tasks: dict[str, Files]) -> None:
    guards = tasks["verb/val"]["hard_negatives"]
    guards += [{**guards[0], "suffix": " lift."}, {**guards[0], "suffix": " hold."}]


def a_form_of_another_verb(tasks: dict[str, Files]) -> None:
    add_second_verb(tasks)
    tasks["verb/val"]["hard_negatives"] = [{"prefix": "On long", "suffix": " walks", "subject": "carry"}]


def add_second_verb(tasks: dict[str, Files]) -> None:
    row = {"suffix1": " walks.", "suffix2": " walk.", "subject": "walk"}
    tasks["verb/val"]["canonical"].append({"prefix": "The teacher", **row})
    tasks["verb/val"]["evaluation"].append({"prefix": "Through rain and snow the old man", **row})


def without_subject(tasks: dict[str, Files]) -> None:
    for row in tasks["country/val"]["evaluation"]:
        del row["subject"]


@pytest.mark.parametrize(
    ("harm", "level", "rule", "place"),
    [
        (duplicate, "error", "duplicate_row", "country/val-hard_negatives.jsonl:2"),
        (copy_from_val, "error", "row_in_val", "verb/test-hard_negatives.jsonl:2"),
        (same_subject, "error", "subject_in_val", "stereoset/test-canonical.jsonl:2"),
        (empty, "error", "empty_file", "temporal/val-hard_negatives.jsonl"),
        (only_she, "error", "unbalanced", "gender/val-hard_negatives.jsonl"),
        (mostly_singular, "error", "unbalanced", "verb/test-canonical.jsonl"),
        (other_verbs, "error", "other_words", "verb/val-hard_negatives.jsonl"),
        (a_form_of_another_verb, "error", "other_words", "verb/val-hard_negatives.jsonl"),
        (without_subject, "note", "unknown_subject", "country/val-evaluation.jsonl"),
    ],
)
def test_rules_about_several_rows(
    harm: Callable[[dict[str, Files]], None], level: str, rule: str, place: str, tmp_path: Path
) -> None:
    tasks = good()
    harm(tasks)
    (finding,) = check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False)
    assert (finding.level, finding.rule) == (level, rule)
    assert str(finding).startswith(f"{tmp_path / place}: ")


def test_every_bad_row_of_a_file_is_named_not_just_the_first(tmp_path: Path) -> None:
    tasks = good()
    for row in tasks["country/test"]["evaluation"]:
        del row["prefix"]
    found = check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False)
    path = tmp_path / "country" / "test-evaluation.jsonl"
    assert [str(finding) for finding in found] == [f"{path}:{line}: 'prefix' is missing" for line in (1, 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prefix": "a", "suffix": " b"}\n{"prefix"\n', ":2: not valid JSON"),
        (b"[1]\n", ":1: a row must be a JSON object, this is a list"),
        (b"\xff\xfe\n", ": not UTF-8 text but UTF-16"),
        (b"\xff\n", ":1: not UTF-8 text"),
        (None, ": cannot read: No such file or directory"),
    ],
)
def test_an_unreadable_file_is_one_finding(content: bytes | None, message: str, tmp_path: Path) -> None:
    suite = Suite.load(write(tmp_path, good()))
    path = tmp_path / "temporal" / "test-hard_negatives.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (finding,) = check_suite(suite, mini_sizes=False)
    assert str(finding).startswith(f"{path}{message}")
    assert finding.level == "error"


def test_an_empty_continuation_of_a_verb_row_is_a_finding_and_no_crash(tmp_path: Path) -> None:
    tasks = {key: files for key, files in good().items() if key.startswith("verb/")}
    tasks["verb/val"]["evaluation"][1]["suffix2"] = " "
    spec = write(tmp_path, tasks) / "suite.yaml"
    spec.write_text(spec.read_text().replace("  verb:\n", "  verb:\n    subject: {verb_forms: true}\n"))
    found = check_suite(Suite.load(tmp_path), mini_sizes=False)
    assert ("empty_suffix", 1) in {(finding.rule, finding.row) for finding in found}


def test_half_of_the_hard_negatives_in_other_words_is_enough(tmp_path: Path) -> None:
    tasks = good()
    guards = tasks["verb/val"]["hard_negatives"]
    guards.append({**guards[0], "suffix": " lift."})
    assert check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False) == []


def test_a_verb_that_ends_its_sentence_is_read_without_the_full_stop(tmp_path: Path) -> None:
    tasks = good()
    add_second_verb(tasks)
    assert check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False) == []


def test_lines_are_those_of_the_file_where_a_suite_uses_some_of_its_rows(tmp_path: Path) -> None:
    tasks = good()
    tasks["country/val"]["hard_negatives"] += [{"prefix": "One ends in ", "suffix": " Abéché", "subject": "Chad"}]
    spec = write(tmp_path, tasks) / "suite.yaml"
    file = "country/val-hard_negatives.jsonl"
    spec.write_text(
        spec.read_text().replace(f"hard_negatives: {file}", f"hard_negatives: {{path: {file}, rows: [1, 2]}}")
    )
    (finding,) = check_suite(Suite.load(tmp_path), mini_sizes=False)
    assert (finding.rule, finding.row) == ("prefix_space", 1)


def test_findings_are_in_the_order_of_files_and_lines_the_whole_file_first(tmp_path: Path) -> None:
    tasks = good()
    without_subject(tasks)
    tasks["country/val"]["evaluation"][0]["suffix"] = "N'Djamena"
    tasks["country/test"]["evaluation"][1]["suffix"] = "Lima"
    found = check_suite(Suite.load(write(tmp_path, tasks)), mini_sizes=False)
    assert [(finding.split, finding.row) for finding in found] == [("test", 1), ("val", None), ("val", 0)]
