"""What a submission.yaml may say, and how its faults are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from canonbench.editing.method import SUBMISSION
from canonbench.errors import CanonbenchError
from canonbench.results.submission import FILE, NAME, read_submission

WHOLE: dict[str, Any] = {
    "schema": 1,
    "title": "Step",
    "summary": "Gradient steps on one matrix.",
    "authors": ["A. Author"],
    "contact": "a@example.org",
    "paper": {"title": "On steps", "url": "https://example.org/steps"},
    "code": "https://example.org/code",
    "method": "method.py:edit",
    "hyperparameters": {"lr": 0.03},
    "tuning": {"how": "by hand on val", "trials": 4},
    "models": ["demo"],
}
LEAST = ("schema", "title", "summary", "authors", "contact", "tuning", "models")


def written(folder: Path, content: Any) -> Path:
    (folder / FILE).write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_a_whole_description_is_read_and_the_rest_has_defaults(tmp_path: Path) -> None:
    whole = read_submission(written(tmp_path, WHOLE))
    assert whole.paper is not None
    assert (whole.paper.url, whole.tuning.trials, whole.hyperparameters) == (
        "https://example.org/steps",
        4,
        {"lr": 0.03},
    )
    least = read_submission(written(tmp_path, {key: WHOLE[key] for key in LEAST}))
    assert (least.paper, least.code, least.method, least.hyperparameters) == (None, None, None, {})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"authors": []}, "authors: "),
        ({"authors": ["TODO: who?"]}, "authors.0: still to be filled in"),
        ({"summary": " "}, "summary: still to be filled in"),
        ({"titel": "x"}, "unknown key 'titel', must be one of .*Did you mean 'title'"),
        ({"tuning": {"how": "x", "trial": 4}}, "tuning: unknown key 'trial'.*Did you mean 'trials'"),
        ({"code": "javascript:alert(1)"}, "code: must be an address that begins with https://, not 'javascript"),
        ({"paper": {"title": "x"}}, "paper.url: missing"),
        ({"schema": 2}, "schema: "),
        ({"hyperparameters": {"lr": float("nan")}}, "hyperparameters"),
    ],
)
def test_a_fault_is_told_in_one_line_that_names_file_and_key(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    with pytest.raises(CanonbenchError, match=line) as caught:
        read_submission(written(tmp_path, WHOLE | change))
    assert str(caught.value).startswith(str(tmp_path / FILE))
    assert "\n" not in str(caught.value)


def test_every_fault_is_told(tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError) as caught:
        read_submission(written(tmp_path, {"schema": 1, "title": "TODO"}))
    for key in ("title: still", "summary: missing", "authors: missing", "contact: missing", "tuning: missing"):
        assert key in str(caught.value)


@pytest.mark.parametrize(
    ("name", "good"),
    [("lora", True), ("in-context", True), ("r64", True)]
    + [(bad, False) for bad in ("Lora", "a_b", "-a", "a--b", "a/b", "..", "", "a b")],
)
def test_a_name_is_fit_for_a_folder_and_an_address(name: str, good: bool) -> None:
    assert bool(NAME.fullmatch(name)) is good


def test_edit_and_the_board_read_the_same_file() -> None:
    assert FILE == SUBMISSION
