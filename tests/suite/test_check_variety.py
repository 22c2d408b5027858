"""Naturalistic evaluation text passes; one template with names filled in does not, whatever the template."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonbench.suite.check.findings import Part, Row
from canonbench.suite.check.rows import check_variety
from canonbench.suite.example import Example

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=0, max_size=12).map(" ".join)


def part_of(prefixes: list[str], subjects: list[str]) -> Part:
    rows = [
        Row(index, {}, Example(prefix, " zz"), subject)
        for index, (prefix, subject) in enumerate(zip(prefixes, subjects, strict=True))
    ]
    return Part("country", "val", "evaluation", Path("e.jsonl"), rows)


def rules(part: Part, level: str = "error") -> set[str]:
    return {finding.rule for finding in check_variety(part) if finding.level == level}


def random_prose(rows: int, words: int = 20) -> list[str]:
    draw = random.Random(3)
    return [" ".join(f"w{draw.randrange(5000)}" for _ in range(words)) for _ in range(rows)]


@given(before=WORDS, after=WORDS, count=st.integers(4, 30))
def test_any_single_template_is_an_error(before: str, after: str, count: int) -> None:
    names = [f"Name{number}" for number in range(count)]
    assert "masked_copy" in rules(part_of([f"{before} {name} {after}" for name in names], names))


def test_the_capital_of_x_is_fails_on_every_count() -> None:
    names = [f"Land{number}" for number in range(66)]
    part = part_of([f"The capital of {name} is" for name in names], names)
    assert rules(part) == {"masked_copy", "repeated_opening", "repeated_ending", "repeated_text"}


def test_a_template_is_seen_behind_varied_openings_and_endings() -> None:
    prose = random_prose(60, words=5)
    template = "and it is well known to all of us that the seat of government of this land has long been the city"
    part = part_of([f"{text} {template} {text[::-1]}" for text in prose], ["X"] * 60)
    assert rules(part, "warning") == {"repeated_text"}


@given(order=st.permutations(range(12)))
def test_the_judgement_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    prefixes = [*random_prose(8), "the same four words", "the same four words", "the same four others", "the same four"]
    found = check_variety(part_of([prefixes[index] for index in order], ["X"] * 12))
    assert {(finding.level, finding.rule) for finding in found} == {("warning", "masked_copy")}


@pytest.mark.parametrize(
    ("alike", "expected"),
    [(2, []), (3, ["warning"]), (15, ["warning"]), (16, ["error"])],
    ids=["two may", "three should not", "a quarter is not yet a template", "more is"],
)
def test_openings_count_from_the_third_of_sixty_and_fail_beyond_a_quarter(alike: int, expected: list[str]) -> None:
    prose = random_prose(60)
    prefixes = [f"In the heart of {text}" if index < alike else text for index, text in enumerate(prose)]
    found = [finding for finding in check_variety(part_of(prefixes, ["X"] * 60)) if finding.rule == "repeated_opening"]
    assert [finding.level for finding in found] == expected
    assert all(finding.message == f"{alike} of 60 rows begin with 'in the heart of'" for finding in found)


@pytest.mark.parametrize(("alike", "expected"), [(3, []), (4, ["warning"]), (16, ["error"])])
def test_endings_count_from_the_fourth_of_sixty(alike: int, expected: list[str]) -> None:
    prose = random_prose(60)
    prefixes = [f"{text} is none other than" if index < alike else text for index, text in enumerate(prose)]
    found = [finding for finding in check_variety(part_of(prefixes, ["X"] * 60)) if finding.rule == "repeated_ending"]
    assert [finding.level for finding in found] == expected


@pytest.mark.parametrize(("copies", "level"), [(2, "warning"), (3, "error")])
def test_a_tenth_of_the_rows_may_be_copies_before_it_is_an_error(copies: int, level: str) -> None:
    (finding,) = [
        finding
        for finding in check_variety(part_of([*random_prose(20 - copies), *random_prose(copies)], ["X"] * 20))
        if finding.rule == "masked_copy"
    ]
    assert finding.level == level


def test_answers_are_masked_as_subjects_are() -> None:
    rows = [Row(number, {}, Example(f"Not Ann{number} but", f" Ann{number}"), "X") for number in range(2)]
    assert "masked_copy" in rules(Part("country", "val", "evaluation", Path("e.jsonl"), rows))


def test_a_copy_names_the_line_that_it_copies() -> None:
    prefixes = [*random_prose(20), "Here in Oz lives", "Here in Id lives"]
    (finding,) = check_variety(part_of(prefixes, ["X"] * 20 + ["Oz", "Id"]))
    assert (finding.level, finding.row) == ("warning", 21)
    assert finding.message.endswith("(this one that of line 21)")
