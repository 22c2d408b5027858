"""What a suite.yaml may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonbench.errors import CanonbenchError
from canonbench.suite.spec import read_spec


@pytest.mark.parametrize("name", ["general", "noise", "average", "all"])
def test_a_task_cannot_take_a_name_that_means_something_else(tmp_path: Path, name: str) -> None:
    parts = "{canonical: a.jsonl, evaluation: b.jsonl, hard_negatives: c.jsonl}"
    path = tmp_path / "suite.yaml"
    path.write_text(f"name: x\ntasks:\n  {name}: {{loss: nll, threshold: 1.0, val: {parts}}}\n")
    with pytest.raises(CanonbenchError, match=f"a task cannot be called '{name}'"):
        read_spec(path)
