"""Killed at any point and started again, a run ends with the row of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import killing
import pytest
from filelock import FileLock
from killing import kill_after, packs, row_of
from run_cases import edited_copy, write_suite

from tiny_models import save_tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", copies=8, chunks=60)
    save_tiny(folder / "base", "llama", tokenizer="bos")
    edited_copy(folder / "base", folder / "edited")
    return folder


def start(world: Path, run: Path, cache: Path) -> subprocess.Popen[str]:
    names = ("--model", world / "edited", "--base", world / "base", "--suite", world / "suite")
    return killing.start(cache, "evaluate", *names, "--run", run, "--batch-tokens", "40")


def test_killed_again_and_again_the_same_command_ends_with_the_same_row(world: Path, tmp_path: Path) -> None:
    whole = start(world, tmp_path / "whole", tmp_path / "cache-a")
    assert whole.wait(timeout=300) == 0, whole.stderr.read()

    run, cache = tmp_path / "run", tmp_path / "cache-b"
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL)
    hits = 0
    for how in signals:
        before = packs(run, cache)
        process = start(world, run, cache)
        hit = kill_after(process, 15, (run, cache), how)
        hits += hit
        assert packs(run, cache) >= before + (15 if hit else 0)
        if hit and how is not signal.SIGKILL:
            lines = process.stderr.read().strip().splitlines()
            assert process.returncode == 1
            assert lines[-1] == "canonbench: error: interrupted; nothing computed is lost, the same command continues"
            assert not any("Traceback" in line for line in lines)
    assert hits >= 3
    last = start(world, run, cache)
    assert last.wait(timeout=300) == 0, last.stderr.read()
    assert row_of(run) == row_of(tmp_path / "whole")
    assert packs(run, cache) == packs(tmp_path / "whole", tmp_path / "cache-a")  # nothing was scored twice
    assert not list(run.glob(".*.tmp")) + list(run.glob(".row.json.*"))


def test_a_torn_last_line_is_cut_off_and_scored_again(world: Path, tmp_path: Path) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    process = start(world, run, cache)
    kill_after(process, 10, (run, cache), signal.SIGKILL)
    journal = next(cache.glob("scores/*.jsonl"))
    content = journal.read_bytes()
    journal.write_bytes(content[:-7])
    again = start(world, run, cache)
    assert again.wait(timeout=300) == 0, again.stderr.read()
    for line in journal.read_bytes().splitlines():
        json.loads(line)


def test_a_second_process_in_the_same_run_folder_is_told_so(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run/.lock"):
        process = start(world, tmp_path / "run", tmp_path / "cache")
        assert process.wait(timeout=120) == 1
    assert "another canonbench process is running in" in process.stderr.read()


def test_a_full_disk_costs_nothing_that_was_computed(world: Path, tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: the write fails in the middle of a journal."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500));"
        "from canonbench.cli.main import main; main()"
    )
    names = ("--model", world / "edited", "--base", world / "base", "--suite", world / "suite")
    command = [sys.executable, "-c", script, "evaluate", *map(str, names), "--run", str(run), "--batch-tokens", "40"]
    environment = os.environ | {"CANONBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert failed.returncode == 1
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("canonbench: error: ")]
    assert "nothing written before is lost" in line
    assert "Traceback" not in failed.stderr
    kept = packs(run, cache)
    assert kept > 3
    again = start(world, run, cache)
    assert again.wait(timeout=300) == 0, again.stderr.read()
    assert packs(run, cache) > kept
