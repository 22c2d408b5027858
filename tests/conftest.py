"""What every test relies on: no network, no user cache, and the published data only where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from row_fixtures import alone, asked, edit_run, examples, fixed, reported  # noqa: F401  (fixtures of results, board and submissions)

# Tiny models gain nothing from threads, and two workers with two threads each get in each other's way tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("CANONBENCH_OFFLINE", "1")


@pytest.fixture(scope="session")
def step_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs to put on boards (``submission_cases``); never written to."""
    from submission_cases import write_world

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANONBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return write_world(tmp_path_factory.mktemp("step-world"))


@pytest.fixture(scope="session")
def step_board(step_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board with one valid row, that of the val run; never written to."""
    from submission_cases import empty_board, submitted

    root = empty_board(tmp_path_factory.mktemp("step-board"))
    submitted(step_world, root)
    return root


@pytest.fixture
def published() -> Path:
    """The folder of the published data set; the test is skipped, loudly, where it is absent."""
    folder = os.environ.get("CANONBENCH_PUBLISHED_DIR")
    if not folder:
        pytest.skip("PUBLISHED DATA ABSENT: set CANONBENCH_PUBLISHED_DIR to a copy of the published data set")
    return Path(folder)
