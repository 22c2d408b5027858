"""Runs in processes of their own, killed at a given amount of finished work, for the tests of resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MOOD = ("seconds", "peak_memory_bytes")
"""What a row says of the run and not of the model."""


def start(cache: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start ``canonbench`` with its own cache."""
    command = [sys.executable, "-m", "canonbench", *map(str, arguments)]
    environment = os.environ | {"CANONBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    # what a shell starts in the background ignores Ctrl-C, and so would the run
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def packs(*folders: Path) -> int:
    """Finished packs on disk."""
    return sum(path.read_bytes().count(b"\n") for folder in folders for path in folder.glob("scores/*.jsonl"))


def kill_after(process: subprocess.Popen[str], how_many: int, folders: tuple[Path, Path], how: signal.Signals) -> bool:
    """Send the signal once so many more packs are on disk; whether it came before the run was complete."""
    goal = packs(*folders) + how_many
    while process.poll() is None:
        if packs(*folders) >= goal:
            process.send_signal(how)
            return process.wait(timeout=60) != 0
        time.sleep(0.001)
    return False


def row_of(run: Path) -> dict[str, Any]:
    """A finished run's row, without its mood."""
    found = json.loads((run / "row.json").read_text())
    return {key: value for key, value in found.items() if key not in MOOD}
