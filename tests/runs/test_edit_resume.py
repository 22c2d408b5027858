"""An edit run killed at any point and started again ends with the row of an uninterrupted one."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import candidate_methods
import killing
import pytest
from killing import kill_after, packs, row_of
from run_cases import write_suite

from tiny_models import save_tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", copies=4, chunks=60)
    save_tiny(folder / "base", "llama", tokenizer="bos")
    return folder


def start(world: Path, run: Path, cache: Path, split: str) -> subprocess.Popen[str]:
    method = f"{Path(candidate_methods.__file__)}:growing"
    names = ("--method", method, "--model", world / "base", "--suite", world / "suite", "--task", "country,gender")
    options = ("--run", run, "--batch-tokens", "40", "--seeds", "2", "--set", "by=2e-5", "--split", split)
    return killing.start(cache, "edit", *names, *options)


@pytest.mark.parametrize("split", ["val", "test"])
def test_killed_again_and_again_the_same_command_ends_with_the_same_row(
    world: Path, tmp_path: Path, split: str
) -> None:
    whole = start(world, tmp_path / "whole", tmp_path / "cache-a", split)
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    run, cache = tmp_path / "run", tmp_path / "cache-b"
    hits = 0
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = start(world, run, cache, split)
        hits += kill_after(process, 90, (run, cache), how)
        process.wait(timeout=60)
        if how is signal.SIGINT:
            assert "Traceback" not in process.stderr.read()
    assert hits >= 2
    last = start(world, run, cache, split)
    assert last.wait(timeout=300) == 0, last.stderr.read()
    assert row_of(run) == row_of(tmp_path / "whole")
    assert packs(run, cache) == packs(tmp_path / "whole", tmp_path / "cache-a")  # nothing was scored twice
    kept = [{path.relative_to(each) for path in each.rglob("candidate-*")} for each in (run, tmp_path / "whole")]
    assert kept[0] == kept[1]
