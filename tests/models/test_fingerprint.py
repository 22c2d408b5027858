from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import change_json, lora, save_adapter

from canonbench.errors import CanonbenchError
from canonbench.models.fingerprint import fingerprint, tensor_hash
from canonbench.models.load import Loading, load_model
from tiny_models import ARCHITECTURES, save_tiny, tiny_model

COMMON = ("llama", "gpt2", "gpt_neox", "gptj")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_round_trip_through_a_file_under_another_name_changes_nothing(architecture: str, tmp_path: Path) -> None:
    before = tiny_model(architecture)
    after = load_model(save_tiny(tmp_path / "another-name", architecture), Loading()).model
    again = load_model(save_tiny(tmp_path / "a-third", architecture), Loading()).model
    assert fingerprint(after) == fingerprint(again)
    assert fingerprint(after).weights == fingerprint(before).weights
    assert fingerprint(after).key == fingerprint(before).key


def test_different_models_have_different_fingerprints() -> None:
    prints = {(name, seed): fingerprint(tiny_model(name, seed=seed)) for name in ARCHITECTURES for seed in (0, 1)}
    assert len({each.key for each in prints.values()}) == len(prints)
    # A tiny llama and a tiny mistral have the same weights by the same names; only the sliding window tells them apart.
    assert prints["llama", 0].weights == prints["mistral", 0].weights
    assert len({each.weights for (name, _), each in prints.items() if name != "mistral"}) == len(prints) - 2


MODEL = tiny_model("llama")
BEFORE = fingerprint(MODEL)


@given(which=st.integers(0, len(list(MODEL.parameters())) - 1), where=st.integers(0), bit=st.integers(0, 22))
@settings(max_examples=25, deadline=None)
def test_any_single_bit_of_any_weight_counts(which: int, where: int, bit: int) -> None:
    name, parameter = list(MODEL.named_parameters())[which]
    bits = parameter.data.view(-1).view(torch.int32)
    where %= bits.numel()
    bits[where] ^= 1 << bit
    try:
        after = fingerprint(MODEL)
    finally:
        bits[where] ^= 1 << bit
    assert after.weights != BEFORE.weights
    assert {key for key in BEFORE.tensors if after.tensors[key] != BEFORE.tensors[key]} == {name}
    assert after.config == BEFORE.config


def test_the_dtype_and_the_shape_count() -> None:
    class Holder(torch.nn.Module):
        def __init__(self, tensor: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("tensor", tensor)

    zeros = torch.zeros(2, 3)
    same_bytes = (zeros, zeros.to(torch.int32), zeros.T.contiguous(), zeros.view(6), torch.zeros(3).to(torch.float64))
    assert len({fingerprint(Holder(tensor)).weights for tensor in same_bytes}) == len(same_bytes)
    assert fingerprint(Holder(zeros)).weights == fingerprint(Holder(torch.zeros(3, 2).T)).weights  # only a layout


def test_names_count_so_two_swapped_weights_are_seen() -> None:
    model = tiny_model("llama")
    first, second = (model.model.layers[i].mlp.up_proj.weight for i in (0, 1))
    first.data, second.data = second.data.clone(), first.data.clone()
    assert fingerprint(model).weights != BEFORE.weights


def test_tied_weights_are_one_tensor_under_two_names() -> None:
    prints = fingerprint(tiny_model("gpt2")).tensors
    assert prints["lm_head.weight"] == prints["transformer.wte.weight"]


@pytest.mark.parametrize("architecture", COMMON)
def test_a_setting_counts_though_the_weights_are_the_same(architecture: str) -> None:
    setting: dict[str, Any] = {
        "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0}},
        "gpt2": {"scale_attn_weights": False},
        "gpt_neox": {"layer_norm_eps": 1e-3},
        "gptj": {"activation_function": "relu"},
    }[architecture]
    before, after = fingerprint(tiny_model(architecture)), fingerprint(tiny_model(architecture, **setting))
    assert after.weights == before.weights
    assert after.config != before.config
    assert after.key != before.key


@pytest.mark.parametrize(
    "entries",
    [
        {"_name_or_path": "elsewhere/model"},
        {"transformers_version": "4.0.0"},
        {"torch_dtype": "float16", "dtype": None},
        {"architectures": ["Renamed"]},
        {"use_cache": False},
    ],
)
def test_settings_that_change_no_logit_do_not_count(entries: dict[str, Any], tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "llama")
    change_json(folder / "config.json", **entries)
    assert fingerprint(load_model(folder, Loading(dtype="float32")).model).key == BEFORE.key


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_weight_that_is_not_finite_is_named(value: float, dtype: torch.dtype) -> None:
    model = tiny_model("llama").to(dtype)
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = value
    with pytest.raises(CanonbenchError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' holds NaN or infinite"):
        fingerprint(model)


def test_a_weight_that_overflows_in_the_asked_dtype_is_named(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.lm_head.weight.data[0, 0] = 1e6
    model.save_pretrained(save_tiny(tmp_path, "llama"))
    fingerprint(load_model(tmp_path, Loading()).model)
    with pytest.raises(CanonbenchError, match=r"'lm_head\.weight' holds NaN or infinite values \(as float16\)"):
        fingerprint(load_model(tmp_path, Loading(dtype="float16")).model)


def test_a_model_without_data_cannot_be_fingerprinted() -> None:
    with pytest.raises(CanonbenchError, match="has no data"):
        fingerprint(tiny_model("llama").to("meta"))


def test_a_single_number_may_lie_in_memory_in_any_way() -> None:
    strided = torch.tensor([[1], [2]]).T[0][::2]
    assert strided.stride() == (2,)
    assert tensor_hash("", strided) == tensor_hash("", torch.tensor([1]))


def test_an_empty_tensor_is_no_obstacle() -> None:
    class Empty(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("none", torch.zeros(0, 3))

    assert fingerprint(Empty()).tensors.keys() == {"none"}


def unmerged(tmp_path: Path, name: str, config: peft.PeftConfig) -> Any:
    save_tiny(tmp_path / "base", "llama")
    save_adapter(tmp_path / name, config, tmp_path / "base")
    return load_model(tmp_path / name, Loading(dtype="bfloat16")).model


def test_the_settings_of_an_unmerged_adapter_count_but_not_its_name(tmp_path: Path) -> None:
    first = fingerprint(unmerged(tmp_path, "first", lora()))
    assert fingerprint(unmerged(tmp_path, "second", lora())).key == first.key
    louder = fingerprint(unmerged(tmp_path, "third", lora(lora_alpha=16)))
    assert louder.weights == first.weights
    assert louder.key != first.key


def test_the_order_of_a_set_in_the_settings_does_not_count() -> None:
    """Python shuffles a LoRA's target modules, a set of strings, anew in each process; these two in every process."""
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)

    def holding(modules: set[int]) -> torch.nn.Module:
        model = torch.nn.Module()
        model.peft_config = {"default": SimpleNamespace(to_dict=lambda: {"target_modules": modules})}
        return model

    assert fingerprint(holding(one)) == fingerprint(holding(other))
    assert fingerprint(holding(one)) != fingerprint(holding({0}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU")
def test_a_fingerprint_does_not_depend_on_the_device() -> None:
    assert fingerprint(tiny_model("llama").to("cuda")) == BEFORE
