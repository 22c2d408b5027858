"""Models whose files change while they are scored: no row and no cached score is of other weights than it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_cases import edited_copy, write_suite
from safetensors.torch import load, save
from transformers import AutoModelForCausalLM

from canonbench import evaluate
from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.row import Row
from canonbench.runs.progress import Progress
from tiny_models import save_tiny, tiny_tokenizer


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_suite(tmp_path / "suite")
    save_tiny(tmp_path / "base", "llama", tokenizer="bos")
    edited_copy(tmp_path / "base", tmp_path / "edited")
    return tmp_path


def overwrite(folder: Path, by: float = 1.5) -> None:
    """New values in the same file, as a training that saves over its last checkpoint writes them."""
    path = folder / "model.safetensors"
    content = save({name: by * value for name, value in load(path.read_bytes()).items()}, metadata={"format": "pt"})
    with path.open("r+b") as file:
        file.write(content)


class Meddling(Progress):
    """Does something once, when the first tokens of ``what`` have been scored."""

    def __init__(self, what: str, meddle: Callable[[], Any]) -> None:
        super().__init__()
        self.what, self.meddle = what, meddle

    def advance(self, tokens: int, what: str) -> None:
        super().advance(tokens, what)
        if what.startswith(self.what) and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()


def run(world: Path, model: Any = None, base: Any = None, **how: Any) -> Row:
    settings = {"suite": world / "suite", "batch_tokens": 60, "states_budget": 0} | how
    return evaluate(model or world / "edited", base=base or world / "base", **settings)


def test_an_edited_model_that_changes_while_its_base_is_scored_ends_the_run(world: Path) -> None:
    with pytest.raises(CanonbenchError, match=r"edited has changed since this run began .* another --run") as caught:
        run(world, run=world / "run", progress=Meddling("base", lambda: overwrite(world / "edited")))
    assert "\n" not in str(caught.value)
    assert not (world / "run" / "row.json").exists()


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_base_that_changes_while_it_is_scored_leaves_the_scores_of_what_it_was(
    in_memory: bool, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "base", world / "again")
    base = AutoModelForCausalLM.from_pretrained(world / "base").eval() if in_memory else world / "base"
    how = {"tokenizer": tiny_tokenizer("bos")} if in_memory else {}
    row = run(world, base=base, progress=Meddling("base", lambda: overwrite(world / "base")), **how)
    cached = run(world, base=world / "again")
    monkeypatch.setenv("CANONBENCH_CACHE", str(world / "another-cache"))
    clean = run(world, base=world / "again")
    assert row.fingerprints.base == cached.fingerprints.base == clean.fingerprints.base
    assert row.general == cached.general == clean.general
    assert row.tasks == cached.tasks == clean.tasks


def test_the_base_below_an_artefact_that_changes_ends_the_run(world: Path) -> None:
    loaded = load_model(world / "base", Loading())
    mark = fingerprint(loaded.model)
    loaded.model.lm_head.weight.data *= 1.01
    save_artefact(loaded.model, world / "edit", base=loaded.source, base_fingerprint=mark, record={})
    with pytest.raises(CanonbenchError, match=r"is not the model that .* is an edit of"):
        evaluate(
            world / "edit",
            suite=world / "suite",
            batch_tokens=60,
            progress=Meddling("base", lambda: overwrite(world / "base")),
        )


def test_an_ensemble_that_changes_after_its_beta_was_chosen_ends_the_run(world: Path) -> None:
    overwrite(world / "edited", by=1.0001)

    def say(line: str) -> None:
        if line.startswith("β by league"):
            overwrite(world / "edited")

    name = f"ensemble:{world / 'base'},{world / 'edited'},base={world / 'base'},beta=auto"
    with pytest.raises(CanonbenchError, match="has changed since its β was chosen"):
        evaluate(name, suite=world / "suite", split="val", progress=Progress(say))
