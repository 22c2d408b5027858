"""A few rows of every file of the embedded suite: all six tasks, seconds instead of minutes."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from canonbench.files import data_root


def write_mini_slice(folder: Path, *, rows: int = 3, chunks: int = 3) -> Path:
    """The suite ``mini`` cut to the first rows of every file; its name is ``mini-slice``."""
    mini = data_root() / "mini"
    shutil.copytree(mini, folder)
    for path in folder.rglob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[: chunks if path.parent.name == "general" else rows]), encoding="utf-8")
    spec = yaml.safe_load((mini / "suite.yaml").read_text(encoding="utf-8"))
    (folder / "suite.yaml").write_text(
        yaml.safe_dump({**spec, "name": "mini-slice"}, sort_keys=False), encoding="utf-8"
    )
    return folder
