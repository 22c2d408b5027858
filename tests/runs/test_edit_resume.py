"""An edit run killed at any point and started again ends with the row of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import candidate_methods
import pytest
from run_cases import write_suite

from tiny_models import save_tiny

MOOD = ("seconds", "peak_memory_bytes")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", copies=4, chunks=60)
    save_tiny(folder / "base", "llama", tokenizer="bos")
    return folder


def start(world: Path, run: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    method = f"{Path(candidate_methods.__file__)}:growing"
    names = ("--method", method, "--model", world / "base", "--suite", world / "suite", "--task", "country,gender")
    options = (*names, "--run", run, "--batch-tokens", "40", "--seeds", "2", "--set", "by=2e-5", *more)
    command = [sys.executable, "-m", "canonbench", "edit", *map(str, options)]
    environment = os.environ | {"CANONBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def packs(*folders: Path) -> int:
    """Finished packs on disk."""
    return sum(path.read_bytes().count(b"\n") for folder in folders for path in folder.glob("scores/*.jsonl"))


def row(run: Path) -> dict[str, object]:
    found = json.loads((run / "row.json").read_text())
    return {key: value for key, value in found.items() if key not in MOOD}


@pytest.mark.parametrize("split", ["val", "test"])
def test_killed_again_and_again_the_same_command_ends_with_the_same_row(
    world: Path, tmp_path: Path, split: str
) -> None:
    whole = start(world, tmp_path / "whole", tmp_path / "cache-a", "--split", split)
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    run, cache = tmp_path / "run", tmp_path / "cache-b"
    hits = 0
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        before = packs(run, cache)
        process = start(world, run, cache, "--split", split)
        while process.poll() is None and packs(run, cache) < before + 90:
            time.sleep(0.001)
        if process.poll() is None:
            hits += 1
            process.send_signal(how)
        process.wait(timeout=60)
        if how is signal.SIGINT:
            assert "Traceback" not in process.stderr.read()
    assert hits >= 2
    last = start(world, run, cache, "--split", split)
    assert last.wait(timeout=300) == 0, last.stderr.read()
    assert row(run) == row(tmp_path / "whole")
    assert packs(run, cache) == packs(tmp_path / "whole", tmp_path / "cache-a")  # nothing was scored twice
    kept = [{path.relative_to(each) for path in each.rglob("candidate-*")} for each in (run, tmp_path / "whole")]
    assert kept[0] == kept[1]
