"""What the tests of the command line share: how a command ended, commands that score little, ways to damage files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from command_outcome import Outcome

Canonbench = Callable[..., Outcome]


MODEL = ("evaluate", "--suite", "suite", "--model")
"""Takes a model's name."""

EVALUATE = (*MODEL, "base")
"""Scores the tiny checkpoint on the whole small suite, in about a second."""

QUICK = (*EVALUATE, "--task", "gender", "--limit", "2", "--general", "none")


def damaged(source: Path, target: Path, damage: Callable[[Path], Any]) -> Path:
    """A copy of a checkpoint with something wrong in it."""
    shutil.copytree(source, target)
    damage(target)
    return target


def replace_line(path: Path, number: int, line: str) -> None:
    """Put another line in the place of line ``number`` (from 1)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def change_yaml(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let ``change`` edit the content of a YAML file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
