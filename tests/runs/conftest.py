"""What the tests of edit runs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_cases import write_suite

from tiny_models import save_tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", chunks=12)
    save_tiny(folder / "base", "llama", tokenizer="bos")
    return folder
