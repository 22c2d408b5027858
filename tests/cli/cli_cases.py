"""What the tests of the command line share: how a command ended, commands that score little, ways to damage files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ERROR = "canonbench: error: "


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message of the one error line, which must be the last line of standard error."""
        lines = self.err.splitlines()
        assert [line.startswith(ERROR) for line in lines] == [False] * (len(lines) - 1) + [True], self.err
        assert "Traceback" not in self.err
        return lines[-1].removeprefix(ERROR)


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
