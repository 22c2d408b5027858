"""Before a candidate counts, what is kept of it is shown to be the model that the method yielded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import candidate_methods
import pytest
from transformers.models.llama.modeling_llama import LlamaMLP

from canonbench import evaluate
from canonbench.errors import CanonbenchError
from canonbench.results.row import Row
from canonbench.runs.edit import edit
from canonbench.runs.progress import Progress
from tiny_models import save_tiny


def run_edit(world: Path, method: Any, **how: Any) -> tuple[Row, list[str]]:
    notes: list[str] = []
    settings = {"suite": str(world / "suite"), "tasks": "country", "leagues": ["1", "10"]} | how
    return edit(method, str(world / "base"), progress=Progress(say=notes.append), **settings), notes


LOST = {
    "hooks_a_block": r"would lose a hook on model\.layers\.0, which moves scores by up to",
    "hooks_and_nothing_else": r"would lose a hook on model\.layers\.0, ",
    "hooks_the_output_layer": "would lose a hook on lm_head, ",
    "patches_forward": r"would lose a forward of its own in model\.layers\.1\.mlp, ",
    "wraps_logits": "would lose a forward of its own in LlamaForCausalLM, ",
    "changes_an_epsilon": r"would lose model\.norm\.variance_epsilon = 2e-0[56] \(1e-0[56] in the base\), ",
    "changes_the_configuration": "the configuration is not the base's, and only weights are kept",
    "turns_by_other_angles": r"would lose model\.rotary_emb\.inv_freq, which no checkpoint holds, ",
    "hooks_under_a_merged_adapter": "would lose a hook on lm_head, ",
    "hooks_under_an_adapter": "what is kept of it, opened again, scores otherwise, by up to",
}


@pytest.mark.parametrize("keep", ["best", "none"])
@pytest.mark.parametrize("method", LOST)
def test_a_candidate_that_its_artefact_would_not_be_is_refused_in_one_line(world: Path, method: str, keep: str) -> None:
    line = rf"country seed 0 candidate 1: .*{LOST[method]}"
    with pytest.raises(CanonbenchError, match=line) as caught:
        run_edit(world, getattr(candidate_methods, method), keep=keep)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["hooks_the_output_layer", "changes_the_configuration", "wraps_logits"])
def test_on_test_it_is_refused_too(world: Path, method: str) -> None:
    with pytest.raises(CanonbenchError, match=f"country seed 0 candidate 1: .*{LOST[method]}"):
        run_edit(world, getattr(candidate_methods, method), split="test", seeds=1)


def test_on_test_a_wrapper_that_is_another_model_once_opened_is_in_no_league(world: Path) -> None:
    row, notes = run_edit(world, candidate_methods.hooks_under_an_adapter, split="test", seeds=1)
    assert any("opened again, scores otherwise" in note and "it is in no league" in note for note in notes)
    assert row.leagues is not None
    assert {each.tasks["country"].candidate for each in row.leagues.values()} == {None}


def test_candidates_before_one_that_cannot_be_kept_count(world: Path, tmp_path: Path) -> None:
    row, notes = run_edit(world, candidate_methods.then_hooks, run=tmp_path / "run")
    assert row.leagues is not None
    assert {each.tasks["country"].candidate for each in row.leagues.values()} == {1}
    assert any("would lose a hook on lm_head" in note and "the one before it counts" in note for note in notes)
    assert [path.name for path in (tmp_path / "run/artefacts/country/seed-0").iterdir()] == ["candidate-1"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_method_that_changes_the_code_of_all_models_is_found_by_its_base(world: Path, split: str) -> None:
    forward = LlamaMLP.forward
    try:
        with pytest.raises(CanonbenchError, match=r"the base .* scores otherwise than before the method was called"):
            run_edit(world, candidate_methods.patches_the_class, split=split, seeds=1)
    finally:
        LlamaMLP.forward = forward


@pytest.mark.parametrize("method", ["ties", "lays_out_otherwise", "growing"])
@pytest.mark.parametrize("architecture", ["llama", "tied"])
def test_weights_alone_are_kept_however_they_lie_in_memory(
    world: Path, tmp_path: Path, method: str, architecture: str
) -> None:
    save_tiny(tmp_path / "base", "llama", tokenizer="bos", tie_word_embeddings=architecture == "tied")
    asked = {"suite": str(world / "suite"), "tasks": "country"}
    row = edit(
        getattr(candidate_methods, method), str(tmp_path / "base"), run=tmp_path / "run", leagues=["1", "10"], **asked
    )
    assert row.leagues is not None
    result = row.leagues["10"].tasks["country"]
    (kept,) = (tmp_path / "run/artefacts/country/seed-0").iterdir()
    opened = evaluate(str(kept), split="val", **asked)
    assert opened.tasks is not None
    same = opened.tasks["country"].model_dump()
    assert {key: result.model_dump()[key] for key in same} == same


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("method", ["in-context", "lora", "prompt"])
def test_wrappers_are_kept_as_they_are(world: Path, method: str, split: str, dtype: str) -> None:
    named = candidate_methods.tunes_a_prompt if method == "prompt" else method
    row, notes = run_edit(
        world, named, split=split, seeds=1, dtype=dtype, settings={"epochs": 1} if method == "lora" else {}
    )
    assert row.leagues is not None
    assert row.leagues["10"].tasks["country"].candidate == 1, notes
