"""Which layers are adapted, on every architecture: exactly the MLP projections of the chosen block."""

from __future__ import annotations

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from canonbench.editing.methods.lora import LoraSettings, lora_config
from canonbench.editing.training.adapters import adapt
from canonbench.editing.training.targets import centred, chosen_layers, mlp_projections, named_layers
from canonbench.errors import CanonbenchError, UsageError
from tiny_models import tiny_model

GATED = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
PROJECTIONS = {
    "gpt2": ("transformer.h", ["mlp.c_fc", "mlp.c_proj"]),
    "gpt_neox": ("gpt_neox.layers", ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    "gptj": ("transformer.h", ["mlp.fc_in", "mlp.fc_out"]),
    "llama": ("model.layers", GATED),
    "mistral": ("model.layers", GATED),
    "qwen3": ("model.layers", GATED),
    "gemma": ("model.layers", GATED),
    "phi": ("model.layers", ["mlp.fc1", "mlp.fc2"]),
    "opt": ("model.decoder.layers", ["fc1", "fc2"]),
    "bloom": ("transformer.h", ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    "mpt": ("transformer.blocks", ["ffn.up_proj", "ffn.down_proj"]),
    "backpack": ("backpack.gpt2_model.h", ["mlp.c_fc", "mlp.c_proj"]),
}
ROLES = {2: ["up", "down"], 3: ["gate", "up", "down"]}


@pytest.mark.parametrize("architecture", PROJECTIONS)
def test_the_mlp_projections_of_the_chosen_layers_are_found_in_their_roles(architecture: str) -> None:
    blocks, inner = PROJECTIONS[architecture]
    size = {"gpt2": "n_layer", "gptj": "n_layer", "bloom": "n_layer", "mpt": "n_layers", "backpack": "n_layer"}
    model = tiny_model(architecture, **{size.get(architecture, "num_hidden_layers"): 4})
    found = mlp_projections(model, range(1, 3))
    assert [each.name for each in found] == [f"{blocks}.{layer}.{name}" for layer in (1, 2) for name in inner]
    assert [each.role for each in found] == ROLES[len(inner)] * 2


def test_attention_as_wide_as_an_mlp_is_no_mlp() -> None:
    """Gemma 7B's queries, keys and values lead from the model's width to another, and its output back."""
    model = tiny_model("gemma", num_key_value_heads=4, head_dim=16)
    assert model.model.layers[0].self_attn.q_proj.out_features == model.config.intermediate_size
    assert {each.name.split(".")[3] for each in mlp_projections(model, range(2))} == {"mlp"}


def test_an_mlp_as_wide_as_the_model_is_refused() -> None:
    """Without two widths no shape tells what leads where; saying so is better than adapting attention."""
    with pytest.raises(CanonbenchError, match="has no MLP made of linear layers in its blocks 0-1; use --method peft"):
        mlp_projections(tiny_model("llama", intermediate_size=32), range(2))


def test_gate_and_up_in_one_layer_count_as_up() -> None:
    config = AutoConfig.for_model(
        "phi3", hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, vocab_size=99,
        pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    found = [(each.name, each.role) for each in mlp_projections(model, range(1))]
    assert found == [("model.layers.0.mlp.gate_up_proj", "up"), ("model.layers.0.mlp.down_proj", "down")]


def test_blocks_without_an_mlp_are_refused_with_a_way_out() -> None:
    with pytest.raises(CanonbenchError, match=r"^MambaForCausalLM has no MLP .* use --method peft and name the layers"):
        mlp_projections(tiny_model("mamba"), range(2))


@pytest.mark.parametrize(
    ("share", "count", "layers"),
    [(1.0, 4, [0, 1, 2, 3]), (0.5, 4, [1, 2]), (0.5, 12, [3, 4, 5, 6, 7, 8]), (0.1, 30, [13, 14, 15]), (0.1, 3, [1]),
     (0.25, 4, [1]), (0.9, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8]), (0.01, 2, [0]), (0.3, 9, [3, 4, 5])],
)  # fmt: skip
def test_a_share_of_layers_stands_in_the_middle(share: float, count: int, layers: list[int]) -> None:
    assert list(centred(share, count)) == layers


@pytest.mark.parametrize(("text", "layers"), [("0-3", [0, 1, 2, 3]), (" 2 - 2 ", [2]), ("3", [3])])
def test_layers_can_be_named(text: str, layers: list[int]) -> None:
    assert list(named_layers(text, 4)) == layers


@pytest.mark.parametrize("text", ["0-4", "4", "9-10", "3-2"])
def test_a_range_that_names_a_layer_that_does_not_exist_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"^layers={text}: must be a range within 0-3, the layers that the model has$"):
        named_layers(text, 4)


@pytest.mark.parametrize("text", ["", "a-b", "-1", "1-", "0.5", "1,2"])
def test_what_is_no_range_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"must read first-last, such as 4-7, counted from 0$"):
        named_layers(text, 4)


def test_a_layer_given_as_a_number_is_that_layer() -> None:
    assert list(chosen_layers(tiny_model("gpt2"), 1.0, 1)) == [1]


@pytest.mark.parametrize("architecture", PROJECTIONS)
def test_peft_puts_lora_on_exactly_those_layers(architecture: str) -> None:
    blocks, inner = PROJECTIONS[architecture]
    model = tiny_model(architecture)
    wrapped, trained, own = adapt(model, lora_config(model, LoraSettings(layers="1-1", rank=3)), seed=0)
    found = [name for name, module in wrapped.named_modules() if hasattr(module, "lora_A")]
    assert found == [f"base_model.model.{blocks}.1.{name}" for name in inner]
    assert trained == [f"{name}.lora_{factor}.default.weight" for name in found for factor in "AB"]
    assert own == []
    for name in found:
        layer = wrapped.get_submodule(name)
        assert (layer.r["default"], layer.scaling["default"]) == (3, 8 / 3)
        assert layer.fan_in_fan_out is (architecture in ("gpt2", "backpack"))


def test_the_gate_can_be_left_out_as_released() -> None:
    model = tiny_model("llama")
    assert lora_config(model, LoraSettings(layers=0, gate=False)).target_modules == (
        r"model\.layers\.0\.mlp\.up_proj|model\.layers\.0\.mlp\.down_proj"
    )
