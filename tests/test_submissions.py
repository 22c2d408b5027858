"""Every submission's method runs, on a tiny model and a slice of the embedded suite, through to a row on a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from submission_cases import empty_board

from canonbench.board.build import Places, build, check
from canonbench.editing.method import BUILT_IN, find_method
from canonbench.editing.settings import names
from canonbench.results.submission import read_submission
from canonbench.runs.edit import edit
from canonbench.submissions.submit import submit
from canonbench.submissions.validate import validate
from mini_slice import write_mini_slice
from tiny_models import save_tiny

ROOT = Path(__file__).resolve().parents[1]
SUBMISSIONS = sorted(path.name for path in (ROOT / "submissions").iterdir() if path.is_dir())
OF_BACKPACK = ("senses",)
"""Methods that are for no other model."""
RUNNABLE = [name for name in SUBMISSIONS if read_submission(ROOT / "submissions" / name).method is not None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of all six tasks, and models with whatever a method looks for: biases, more than four layers, senses."""
    folder = tmp_path_factory.mktemp("submissions")
    write_mini_slice(folder / "suite", rows=2, chunks=2)
    config = {"num_hidden_layers": 5, "attention_bias": True, "max_position_embeddings": 4096}
    save_tiny(folder / "llama", "llama", tokenizer="bos", **config)
    save_tiny(folder / "backpack", "backpack", tokenizer="bos", n_positions=1024)
    return folder


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_submission_runs_through_to_a_row_on_the_page(name: str, place: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path / "board")
    ignore = shutil.ignore_patterns("__pycache__", "*.parquet")
    folder = shutil.copytree(ROOT / "submissions" / name, root / "submissions" / name, ignore=ignore)
    takes = find_method(folder).settings
    quick = {"epochs": 1} if takes is not None and "epochs" in names(takes) else {}
    base = place / ("backpack" if name in OF_BACKPACK else "llama")
    row = edit(folder, str(base), suite=place / "suite", run=tmp_path / "run", keep="none", settings=quick)
    assert row.leagues is not None
    done = submit(tmp_path / "run", name, root=root)
    assert [str(each) for each in validate(root) if each.level != "note"] == []
    places = Places(root / "leaderboard/rows", root / "leaderboard")
    build(places)
    assert check(places) == []
    title = read_submission(folder).title
    page = (root / "leaderboard/README.md").read_text(encoding="utf-8")
    assert name in page or title in page
    assert done.row.state in page


def test_everything_on_the_board_is_valid() -> None:
    """What ``canonbench validate`` does in CI."""
    assert [str(each) for each in validate(ROOT) if each.level != "note"] == []


def test_the_built_in_methods_are_submissions_too() -> None:

    assert {str(read_submission(ROOT / "submissions" / name).method) for name in RUNNABLE} >= set(BUILT_IN)
