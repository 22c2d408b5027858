"""Per-example values on the hub: pushed, named by a row, fetched by ``validate --fetch`` and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from data_set_hub import World, serve_hub
from hub_commands import Canonbench, commands
from submission_cases import describe, empty_board

from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.row import ExamplesReference
from canonbench.results.rows import read_rows
from canonbench.submissions.hub_examples import fetch_examples, require_address
from canonbench.submissions.submit import submit, withdraw


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, World]]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def canonbench(served: tuple[str, World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canonbench]:
    with commands(served[0], tmp_path_factory.mktemp("hub-cache")) as run:
        yield run


def test_examples_may_be_on_the_hub(
    step_world: Path, tmp_path: Path, canonbench: Canonbench, served: tuple[str, World]
) -> None:
    root, run = empty_board(tmp_path), step_world / "val"
    pushed = canonbench("push", run, "me/runs", "--anyway", "--as", "val")
    assert pushed.code == 0, pushed.err
    reference = ExamplesReference.model_validate_json(
        pushed.out.splitlines()[-1].removeprefix("for a row's examples: ")
    )
    code = step_world / "step.py"
    done = submit(run, "step", root=root, code=str(code), examples_at=reference.file)
    describe(root)
    assert done.row.examples == reference
    assert not list(root.rglob("*.parquet"))
    asked = len(served[1].asked)
    unseen = canonbench("validate", root)
    assert unseen.code == 0
    assert "its examples are on the hub and were not looked at" in unseen.out
    assert len(served[1].asked) == asked
    seen = canonbench("validate", root, "--fetch")
    assert (seen.code, "not looked at" in seen.out) == (0, False)
    assert f"network: fetching {reference.file} from the Hugging Face hub" in seen.err
    rows = root / "leaderboard/rows/step.jsonl"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace(reference.sha256, "0" * 64), encoding="utf-8")
    other = canonbench("validate", root, "--fetch")
    assert other.code == 1
    assert f"{reference.file} has the SHA-256 {reference.sha256[:12]}..., the row names 000000000000..." in other.out
    rows.write_text(text, encoding="utf-8")
    withdraw(run, "step", root=root, code=str(code), examples_at=reference.file)
    assert read_rows(root / "leaderboard/rows") == []


@pytest.mark.parametrize(
    "address",
    ["https://example.org/x.parquet", "hf://datasets/me/runs@main/x.parquet", "hf://datasets/me/runs@0123abc/x.bin"],
)
def test_an_address_that_may_come_to_hold_something_else_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of examples"):
        require_address(address)


def test_nothing_is_fetched_where_the_network_is_forbidden() -> None:
    examples = ExamplesReference(file="hf://datasets/me/runs@0123abc/x.parquet", sha256="0" * 64)
    with pytest.raises(CanonbenchError, match="CANONBENCH_OFFLINE=1 forbids it"):
        fetch_examples(examples)
