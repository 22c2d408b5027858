"""Finished runs that several test files put on boards; never written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from submission_cases import empty_board, submitted, write_world


@pytest.fixture(scope="session")
def step_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANONBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return write_world(tmp_path_factory.mktemp("step-world"))


@pytest.fixture(scope="session")
def step_board(step_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board with one valid row, that of the val run; never written to."""
    root = empty_board(tmp_path_factory.mktemp("step-board"))
    submitted(step_world, root)
    return root
