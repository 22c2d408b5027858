"""Methods that train one part of the model: locft one down-projection, bitfit the biases, full everything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from finetune_cases import ask, last, weights_of

from canonbench.editing.methods import bitfit, full, locft
from canonbench.errors import CanonbenchError, UsageError
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("bos")


def changed(method: Any, model: Any, settings: Any) -> set[str]:
    before = weights_of(model)
    after = weights_of(last(method.edit(model, TOKENIZER, ask(settings))))
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_full_changes_every_parameter(architecture: str) -> None:
    model = tiny_model(architecture)
    assert changed(full, model, full.FullSettings(epochs=1, lr=1e-3)) == set(weights_of(model))


@pytest.mark.parametrize(
    ("architecture", "weight"),
    [
        ("gpt2", "transformer.h.1.mlp.c_proj.weight"),
        ("gptj", "transformer.h.1.mlp.fc_out.weight"),
        ("backpack", "backpack.gpt2_model.h.1.mlp.c_proj.weight"),
        ("gpt_neox", "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"),
        ("llama", "model.layers.1.mlp.down_proj.weight"),
        ("phi", "model.layers.1.mlp.fc2.weight"),
        ("opt", "model.decoder.layers.1.fc2.weight"),
    ],
)
def test_locft_changes_one_down_projection(architecture: str, weight: str) -> None:
    assert changed(locft, tiny_model(architecture), locft.LocftSettings(epochs=1, layer=1)) == {weight}


@pytest.mark.parametrize(("depth", "layer"), [(0.0, 0), (0.5, 2), (0.6, 2), (0.7, 3), (1.0, 4)])
def test_locft_finds_its_layer_by_depth(depth: float, layer: int) -> None:
    model = tiny_model("llama", num_hidden_layers=5)
    name = locft.down_projection(model, locft.LocftSettings(depth=depth))
    assert name == f"model.layers.{layer}.mlp.down_proj.weight"


def test_locft_on_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^layer=2: the model has the layers 0-1$"):
        locft.down_projection(tiny_model("llama"), locft.LocftSettings(layer=2))


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gptj", "phi", "opt", "bloom", "backpack"])
def test_bitfit_changes_all_biases_and_nothing_else(architecture: str) -> None:
    model = tiny_model(architecture)
    found = changed(bitfit, model, bitfit.BitfitSettings(epochs=1))
    assert found == {name for name in weights_of(model) if name.endswith("bias")}


@pytest.mark.parametrize(
    ("architecture", "wanted"),
    [("llama", 2 * 2 + 1), ("qwen3", 2 * 4 + 1), ("gemma", 2 * 2 + 1)],  # per block and at the end
)
def test_bitfit_trains_norms_where_there_are_no_biases_and_it_is_told_to(architecture: str, wanted: int) -> None:
    model = tiny_model(architecture)
    with pytest.raises(CanonbenchError, match=r"has no biases; train the scales of its norms with norms=true$"):
        bitfit.bias_names(model, norms=False)
    names = changed(bitfit, model, bitfit.BitfitSettings(epochs=1, norms=True))
    assert len(names) == wanted
    assert all("norm" in name for name in names)
