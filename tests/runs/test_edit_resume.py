"""An edit run killed at any point and started again ends with the row of an uninterrupted one."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import candidate_methods
import killing
import pytest
from killing import kill_after, packs, row_of
from run_cases import write_suite

from canonbench.runs.edit import edit
from canonbench.runs.progress import Progress
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


class Impatient(Progress):
    """Ctrl-C as soon as the second seed is measured."""

    def advance(self, tokens: int, what: str) -> None:
        if "seed 1" in what:
            raise KeyboardInterrupt
        super().advance(tokens, what)


def halve(folder: Path) -> None:
    """What is left of a candidate where the process died while it removed it."""
    (folder / "canonbench_edit.json").unlink()


@pytest.mark.parametrize("split", ["val", "test"])
def test_what_a_killed_run_left_half_made_or_half_removed_is_made_anew(world: Path, tmp_path: Path, split: str) -> None:
    asked: dict[str, Any] = {"suite": world / "suite", "tasks": "country", "split": split, "seeds": 2}
    asked |= {"settings": {"by": 1e-5}, "keep": "all"}
    whole = edit(candidate_methods.growing, str(world / "base"), run=tmp_path / "whole", **asked)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        edit(candidate_methods.growing, str(world / "base"), run=run, progress=Impatient(), **asked)
    kept = run / "artefacts/country/seed-1"
    shutil.copytree(run / "artefacts/country/seed-0", kept, dirs_exist_ok=True)
    for number in (1, 2, 3):
        halve(kept / f"candidate-{number}")
    (kept / ".candidate-7.part").mkdir()
    shutil.copytree(kept / "candidate-1", kept / ".candidate-1.gone")
    (run / ".row.json.abc.part").write_text("{", encoding="utf-8")
    (run / "trials/.country-seed-0.json.abc.part").write_text("{", encoding="utf-8")
    again = edit(candidate_methods.growing, str(world / "base"), run=run, **asked)
    mood = set(killing.MOOD)
    assert again.model_dump(exclude=mood) == whole.model_dump(exclude=mood)
    for folder in (run, tmp_path / "whole"):
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
    artefacts = run / "artefacts", tmp_path / "whole/artefacts"
    names = [{path.relative_to(each) for path in each.rglob("*/*")} for each in artefacts]
    assert names[0] == names[1]
