"""A checkout with an empty board, and a finished run of all six tasks to put on it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from canonbench.runs.edit import edit
from canonbench.submissions.submit import Submitted, submit
from mini_slice import write_mini_slice
from tiny_models import save_tiny

STEP = """\
def edit(model, tokenizer, request):
    weight = model.get_parameter("model.layers.1.mlp.down_proj.weight").data
    for number in range(2):
        weight.mul_(1 + float(request.hyperparameters.get("by", 1e-5)) * (1 + request.seed))
        yield model
"""
DESCRIBED = {"summary": "It scales a matrix.", "authors": ["A. Author"], "contact": "a@example.org"}


def write_world(folder: Path) -> Path:
    """``step.py``, a tiny base, a slice of the embedded suite, and finished runs ``val`` and ``test``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.py").write_text(STEP, encoding="utf-8")
    write_mini_slice(folder / "suite")
    save_tiny(folder / "base", "llama", tokenizer="bos", max_position_embeddings=2048)
    run_step(folder, "val")
    run_step(folder, "test", split="test", seeds=2, chosen=folder / "val")
    return folder


def run_step(folder: Path, name: str, **how: Any) -> Path:
    """A run of ``step.py``, as the command line would leave it."""
    options = {"method": folder / "step.py", "suite": folder / "suite", "run": folder / name, "keep": "none"} | how
    edit(model=str(folder / "base"), **{"passed": {"method": str(options["method"])}, **options})
    return folder / name


def empty_board(root: Path) -> Path:
    """A checkout without rows."""
    (root / "leaderboard/rows").mkdir(parents=True)
    (root / "submissions").mkdir()
    return root


def describe(root: Path, name: str = "step", **changes: Any) -> None:
    """Fill in what a program cannot know."""
    path = root / "submissions" / name / "submission.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content |= DESCRIBED | {"tuning": {"how": "by hand", "trials": 1}} | changes
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    (path.parent / "README.md").write_text("# Step\n\nIt scales a matrix.\n", encoding="utf-8")


def submitted(world: Path, root: Path, runs: Sequence[Path] = (), **how: Any) -> Submitted:
    """The val run (or these ones) on the board, described."""
    done = submit(runs or world / "val", "step", root=root, code=str(world / "step.py"), **how)
    describe(root)
    return done


def copy_of(root: Path, target: Path) -> Path:
    """A board that may be damaged."""
    shutil.copytree(root, target)
    return target
