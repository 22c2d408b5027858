"""General text: disjoint parts, no chunk twice, and the embedded suite's further promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_suite import good, write

from canonbench.suite.check import check_suite
from canonbench.suite.check.findings import Finding
from canonbench.suite.check.general import Chunk, check_prose
from canonbench.suite.spec import FileSpec, GeneralSpec
from canonbench.suite.suite import General, Suite


def check(folder: Path, **general: list[dict[str, Any]]) -> list[Finding]:
    return check_suite(Suite.load(write(folder, good(), general)), mini_sizes=False)


def texts(*words: str) -> list[dict[str, Any]]:
    return [{"text": word} for word in words]


def test_disjoint_parts_have_no_findings(tmp_path: Path) -> None:
    assert check(tmp_path, val=texts("a", "b"), test=texts("c"), regularization=texts("d")) == []


@pytest.mark.parametrize(
    ("test", "rule", "row"),
    [
        (texts("c", "a  b"), "overlapping_parts", 1),
        (texts("c", "d", "c"), "duplicate_text", 2),
        (texts("c", " "), "empty_text", 1),
        ([{"text": "c"}, {"txt": "d"}], "malformed", 1),
        ([], "empty_file", None),
    ],
)
def test_what_is_wrong_with_general_text_is_found_where_it_stands(
    test: list[dict[str, Any]], rule: str, row: int | None, tmp_path: Path
) -> None:
    (finding,) = check(tmp_path, val=texts("a b", "x"), test=test)
    assert (finding.level, finding.rule, finding.row, finding.path.name) == ("error", rule, row, "general-test.jsonl")


def test_overlapping_row_ranges_of_one_file_are_found(tmp_path: Path) -> None:
    folder = write(tmp_path, good(), {"val": texts("a", "b", "c"), "test": texts("d")})
    spec = folder / "suite.yaml"
    ranged = "test: {path: general-val.jsonl, rows: [2, null]}"
    spec.write_text(spec.read_text().replace("test: general-test.jsonl", ranged))
    (finding,) = check_suite(Suite.load(folder), mini_sizes=False)
    assert (finding.rule, finding.row, finding.split) == ("overlapping_parts", 2, "test")


def test_general_text_that_is_not_at_hand_is_a_note(tmp_path: Path) -> None:
    folder = write(tmp_path, good(), {"val": texts("a"), "test": texts("b")})
    (folder / "general-test.jsonl").unlink()
    (finding,) = check_suite(Suite.load(folder), mini_sizes=False)
    assert (finding.level, finding.rule) == ("note", "not_at_hand")


def prose(*texts: str) -> list[tuple[str, int | None]]:
    general = General("prose", Path("folder"), GeneralSpec(val=FileSpec(path="v"), test=FileSpec(path="t")))
    chunks = [Chunk("val", general.spec.val, index, text) for index, text in enumerate(texts)]
    return [(finding.rule, finding.row) for finding in check_prose(general, chunks) if finding.rule != "too_few"]


@pytest.mark.parametrize(("count", "enough"), [(299, False), (300, True)])
def test_three_hundred_chunks_are_enough(count: int, enough: bool) -> None:
    general = General("prose", Path("folder"), GeneralSpec(val=FileSpec(path="v"), test=FileSpec(path="t")))
    chunks = [Chunk("val", general.spec.val, index, filler(f"c{index}w", 60)) for index in range(count)]
    assert [finding.rule for finding in check_prose(general, chunks)] == ([] if enough else ["too_few"])


def filler(name: str, words: int) -> str:
    return " ".join(f"{name}{number}" for number in range(words))


@pytest.mark.parametrize(("words", "fits"), [(49, False), (50, True), (112, True), (113, False)])
def test_chunks_have_50_to_112_words(words: int, fits: bool) -> None:
    assert prose(filler("a", words)) == ([] if fits else [("length", 0)])


def test_no_two_chunks_begin_with_the_same_three_words() -> None:
    first, second = f"Once upon a {filler('a', 60)}", f"“Once upon”, a {filler('b', 60)}"
    assert prose(first, second) == [("repeated_opening", 1)]


def test_no_sentence_stands_twice_except_short_ones() -> None:
    again = "The lamp had burned all night."
    first, second = f"{filler('a', 60)}. {again} Yes, I do.", f"{filler('b', 60)}? {again} Yes, I do."
    assert prose(first, second) == [("repeated_sentence", 1)]
