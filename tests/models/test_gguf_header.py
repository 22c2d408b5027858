"""A GGUF file scores as the model it was made from, or its header is refused by the key that would be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_cases import MODELS, model_of, write_gguf
from model_cases import logits
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from canonbench.errors import CanonbenchError
from canonbench.models.fingerprint import fingerprint
from canonbench.models.gguf.header import ARCHITECTURES, NEUTRAL, Header, configuration
from canonbench.models.load import Loading, load_model

LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 500.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5}


def loaded(path: Path) -> Any:
    return load_model(path, Loading()).model


def refusal(path: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_model(path, Loading())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(model: Any, original: Any) -> bool:
    return torch.allclose(logits(model), logits(original), atol=1e-4)


def stored_factors(model: Any) -> Any:
    """What ``rope_freqs.weight`` holds: by how much the model's rotary frequencies are divided."""
    head, theta = model.config.head_dim, model.config.rope_parameters["rope_theta"]
    plain = theta ** (-torch.arange(0, head, 2) / head)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, "cpu")
    return (plain / scaled).numpy()


def test_every_architecture_of_the_table_is_compared() -> None:
    assert set(ARCHITECTURES) == set(MODELS)


@pytest.mark.parametrize("architecture", MODELS)
def test_a_file_scores_as_the_model_that_it_was_made_from(architecture: str, tmp_path: Path) -> None:
    original = model_of(architecture)
    file = write_gguf(tmp_path / "m.gguf", original, architecture=architecture)
    assert same(loaded(file), original)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3moe", "starcoder2"])
@pytest.mark.parametrize("rope", [LINEAR, YARN], ids=["linear", "yarn"])
def test_scaled_rotary_frequencies_are_honoured(architecture: str, rope: dict[str, Any], tmp_path: Path) -> None:
    original = model_of(architecture, rope_parameters=rope)
    assert not same(model_of(architecture), original)
    assert same(loaded(write_gguf(tmp_path / "m.gguf", original, architecture=architecture)), original)


def test_yarn_with_bounds_of_its_own_and_the_old_name_of_linear(tmp_path: Path) -> None:
    original = model_of("llama", rope_parameters=YARN | {"beta_fast": 16.0, "beta_slow": 2.0})
    bounds = {"llama.rope.scaling.yarn_beta_fast": 16.0, "llama.rope.scaling.yarn_beta_slow": 2.0}
    assert same(loaded(write_gguf(tmp_path / "yarn.gguf", original, header=bounds)), original)
    original = model_of("llama", rope_parameters=LINEAR)
    old = {"llama.rope.scale_linear": 4.0, "llama.rope.scaling.factor": None, "llama.rope.scaling.type": None}
    assert same(loaded(write_gguf(tmp_path / "old.gguf", original, header=old)), original)


@pytest.mark.parametrize(
    ("head", "length", "changes"),
    [
        (64, 8192, {}),  # Llama 3.1
        (64, 8192, {"factor": 32.0}),  # Llama 3.2
        (64, 64, {"rope_theta": 500.0}),  # some of the probe's positions are beyond
        (64, 96, {"high_freq_factor": 3.0, "rope_theta": 500.0}),
        (64, 128, {"low_freq_factor": 2.0, "high_freq_factor": 8.0, "rope_theta": 500.0}),
    ],
)
def test_the_scaling_of_llama_3_is_found_from_its_factors(
    head: int, length: int, changes: dict[str, float], tmp_path: Path
) -> None:
    rope = LLAMA3 | {"original_max_position_embeddings": length} | changes
    original = model_of("llama", head_dim=head, rope_parameters=rope)
    factors = stored_factors(original)
    file = write_gguf(tmp_path / "m.gguf", original, extra={"rope_freqs.weight": factors})
    model = loaded(file)
    assert same(model, original)
    assert torch.allclose(model.model.rotary_emb.inv_freq, original.model.rotary_emb.inv_freq, rtol=1e-5, atol=0)
    if length == 8192:
        assert model.config.rope_parameters == original.config.rope_parameters


def test_factors_of_another_kind_are_refused(tmp_path: Path) -> None:
    model = model_of("llama")
    for name, factors in {"odd": np.linspace(1, 8, 12) ** 2, "short": np.ones(5)}.items():
        file = write_gguf(tmp_path / f"{name}.gguf", model, extra={"rope_freqs.weight": factors})
        assert "its rope_freqs.weight " in refusal(file)
    both = model_of("llama", rope_parameters=YARN)
    file = write_gguf(tmp_path / "both.gguf", both, extra={"rope_freqs.weight": np.linspace(1, 8, 12)})
    assert "both by rope_freqs.weight and by a factor" in refusal(file)
    ones = write_gguf(tmp_path / "ones.gguf", model, extra={"rope_freqs.weight": np.ones(12)})
    assert same(loaded(ones), model)


def test_biases_are_the_models_where_the_file_has_them(tmp_path: Path) -> None:
    original = model_of("llama", attention_bias=True, mlp_bias=True)
    assert same(loaded(write_gguf(tmp_path / "m.gguf", original)), original)


@pytest.mark.parametrize(("architecture", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_gemmas_largest_scale_attention_by_an_even_share_of_the_width(architecture: str, layers: int) -> None:
    keys = {"context_length": 256, "embedding_length": 64, "feed_forward_length": 96, "rope.freq_base": 500.0}
    keys |= {f"attention.{name}": value for name, value in {"head_count": 4, "head_count_kv": 2}.items()}
    keys |= {f"attention.{name}": 24 for name in ("key_length", "value_length", "sliding_window")}
    keys |= {"attention.layer_norm_rms_epsilon": 1e-3}
    if architecture == "gemma2":
        keys |= {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    tensors = {"token_embd.weight": (384, 64)}
    for blocks, expected in {layers: 16, layers - 1: 24}.items():
        fields = {f"{architecture}.{key}": value for key, value in (keys | {"block_count": blocks}).items()}
        header = Header(Path("m.gguf"), fields | {"general.architecture": architecture}, tensors)
        assert configuration(header).query_pre_attn_scalar == expected


def test_a_model_in_one_piece_is_the_same_to_its_fingerprint_as_saved(tmp_path: Path) -> None:
    original = model_of("llama", rope_parameters=YARN)
    load = load_model(write_gguf(tmp_path / "m.gguf", original), Loading())
    load.model.save_pretrained(tmp_path / "saved")
    load.tokenizer.save_pretrained(tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    assert same(again, original)
    assert fingerprint(again).key == fingerprint(load.model).key


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.sliding_window", 8),
        ("attention.scale", 0.5),
        ("attention.clamp_kqv", 8.0),
        ("attention.causal", False),
        ("attention.temperature_length", 8),
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
        ("logit_scale", 0.5),
        ("embedding_scale", 12.0),
        ("residual_scale", 0.2),
        ("expert_count", 8),
        ("expert_weights_norm", True),
        ("expert_weights_scale", 2.5),
        ("rope.scaling.attn_factor", 1.2),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("rope.dimension_sections", [1, 2, 3, 4]),
        ("use_parallel_residual", True),
        ("a_key_of_tomorrow", 1),
    ],
)
def test_a_key_that_nothing_carries_is_refused_by_name(key: str, value: Any, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama"), header={f"llama.{key}": value})
    found = refusal(file)
    assert f"its header sets llama.{key} to " in found
    assert found.endswith("; use the safetensors model that the file was converted from")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0}, "scales rotary frequencies by longrope"),
        ({"rope.dimension_count": 8}, "rotates 8 of the 24 numbers of each head"),
        ({"attention.value_length": 16}, "heads of 24 (keys) and 16 (values)"),
        ({"feed_forward_length": [96, 96]}, "sets llama.feed_forward_length layer by layer"),
        ({"attention.layer_norm_rms_epsilon": None}, "lacks llama.attention.layer_norm_rms_epsilon"),
        ({"attention.head_count_kv": None}, "lacks llama.attention.head_count_kv"),
    ],
)
def test_what_cannot_be_carried_is_refused(header: dict[str, Any], said: str, tmp_path: Path) -> None:
    keys = {f"llama.{key}": value for key, value in header.items()}
    assert said in refusal(write_gguf(tmp_path / "m.gguf", model_of("llama"), header=keys))


def test_scaling_is_refused_where_the_model_has_none(tmp_path: Path) -> None:
    header = {"phi3.rope.scaling.factor": 2.0}
    file = write_gguf(tmp_path / "m.gguf", model_of("phi3"), architecture="phi3", header=header)
    assert "scales rotary frequencies" in refusal(file)


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    extra = {"blk.0.attn_q_norm.weight": np.ones(24)}
    assert "its tensor blk.0.attn_q_norm.weight has no place in transformers' llama" in refusal(
        write_gguf(tmp_path / "m.gguf", model_of("llama"), extra=extra)
    )


def test_what_changes_nothing_is_no_obstacle(tmp_path: Path) -> None:
    neutral = {f"llama.{key}": values[0] for key, values in NEUTRAL.items()}
    other = {"llama.attention.sliding_window": 4096, "llama.rope.scaling.type": "none", "someone.else": "x"}
    named = {"general.name": "Tiny", "general.license": "mit", "general.type": "model", "quantize.imatrix.file": "y"}
    file = write_gguf(tmp_path / "m.gguf", model_of("llama"), header=neutral | other | named)
    assert same(loaded(file), model_of("llama"))


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama"), header={"general.type": "adapter"})
    assert "holds a GGUF adapter, not a model" in refusal(file)
