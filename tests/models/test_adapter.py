from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from model_cases import change_json, change_weights, damaged, logits, lora, save_adapter
from safetensors.torch import load_file

from canonbench.errors import CanonbenchError
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, base_name, load_model
from tiny_models import save_tiny, tiny_model, tiny_tokenizer

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("adapted") / "base", "llama")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    save_adapter(base.parent / "lora", lora(), base)
    return base.parent / "lora"


def refusal(folder: Path, how: Loading | None = None, **options: Any) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_model(folder, how or Loading(), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


MERGED: dict[str, Callable[[], peft.PeftConfig]] = {
    "lora": lora,
    "lora on every linear layer": lambda: peft.LoraConfig(target_modules="all-linear", r=2),
    "lora on embeddings and output": lambda: lora(target_modules=["embed_tokens", "lm_head"]),
    "dora": lambda: lora(use_dora=True),
    "lora and a retrained layer": lambda: lora(modules_to_save=["lm_head"]),
    "lora and retrained tokens": lambda: lora(trainable_token_indices=[3, 4]),
    "ia3": lambda: peft.IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "layer norms": lambda: peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=["input_layernorm"]),
}
WRAPPED: dict[str, Callable[[], peft.PeftConfig]] = {
    "prompt tuning": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "prefix tuning": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    "p-tuning": lambda: peft.PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, encoder_hidden_size=8),
}


@pytest.mark.parametrize("kind", MERGED)
def test_an_adapter_merged_in_float32_equals_the_unmerged_one(kind: str, base: Path, tmp_path: Path) -> None:
    unmerged = save_adapter(tmp_path, MERGED[kind](), base)
    loaded = load_model(tmp_path, Loading())
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert torch.allclose(logits(loaded.model), unmerged, atol=1e-5, rtol=0)
    assert (unmerged - logits(tiny_model("llama"))).abs().max() > 1e-2  # or the test would show nothing


@pytest.mark.parametrize("kind", WRAPPED)
def test_virtual_tokens_stay_in_front_of_the_base(kind: str, base: Path, tmp_path: Path) -> None:
    unmerged = save_adapter(tmp_path, WRAPPED[kind](), base)
    loaded = load_model(tmp_path, Loading())
    assert torch.equal(logits(loaded.model), unmerged)
    assert (unmerged - logits(tiny_model("llama"))).abs().max() > 1e-2
    assert (loaded.dtype, str(loaded.device), loaded.source.kind) == ("float32", "cpu", "peft")


def test_in_bfloat16_an_adapter_is_not_rounded_into_the_weights(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, lora(), base, effect=1e-4)
    model = load_model(tmp_path, Loading(dtype="bfloat16")).model
    assert isinstance(model, peft.PeftModel)
    assert model.dtype == torch.bfloat16
    assert torch.equal(
        model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight,
        tiny_model("llama").model.layers[0].self_attn.q_proj.weight.bfloat16(),
    )


def test_merging_adds_what_the_paper_says(base: Path, adapter: Path) -> None:
    """LoRA (Hu et al. 2021): W + alpha/r · B A, here with peft's default alpha of 8 and r = 4."""
    parts = load_file(adapter / WEIGHTS)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    delta = parts[f"{stem}.lora_B.weight"] @ parts[f"{stem}.lora_A.weight"]
    before, after = (load_model(folder, Loading()).model.state_dict() for folder in (base, adapter))
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.allclose(after[name], before[name] + 8 / 4 * delta, atol=1e-6)
    untouched = "model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(after[untouched], before[untouched])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["lora", "lora on embeddings and output", "ia3", "layer norms"])
def test_an_adapter_that_changes_nothing_says_so(kind: str, dtype: str, base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, MERGED[kind](), base, effect=0)
    assert "changes nothing" in refusal(tmp_path, Loading(dtype=dtype))


def test_an_adapter_that_only_retrains_a_bias_changes_something(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", "gpt2")
    config = lora(target_modules=["c_attn"], bias="lora_only", fan_in_fan_out=True)
    save_adapter(tmp_path / "lora", config, tmp_path / "base", architecture="gpt2", effect=0)
    bias = "base_model.model.transformer.h.0.attn.c_attn.base_layer.bias"
    change_weights(tmp_path / "lora", lambda tensors: tensors[bias].add_(1), WEIGHTS)
    moved = logits(load_model(tmp_path / "lora", Loading()).model) - logits(tiny_model("gpt2"))
    assert moved.abs().max() > 1e-2


def save_without_effect(folder: Path, base: Path, change: str = "", **options: Any) -> None:
    """A LoRA whose factors are zero, saved with the embeddings below it, those of ``change`` edited."""
    model = peft.get_peft_model(tiny_model("llama", **options.pop("sizes", {})), lora(**options))
    model.peft_config["default"].base_model_name_or_path = str(base)
    for name, weight in model.named_parameters():
        if change in name and change and weight.shape[0] > 100:
            weight.data[5] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's doubts about embeddings
        model.save_pretrained(folder, save_embedding_layers=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("change", ["embed_tokens", "lm_head"])
def test_an_embedding_that_is_saved_along_is_an_edit_even_where_the_factors_are_zero(
    change: str, dtype: str, base: Path, tmp_path: Path
) -> None:
    save_without_effect(tmp_path, base, change)
    before, after = (load_model(folder, Loading(dtype=dtype)).model for folder in (base, tmp_path))
    edited = {name for name, weight in before.state_dict().items() if change in name}
    states = {name.removeprefix("base_model.model."): weight for name, weight in after.state_dict().items()}
    assert not any(torch.equal(states[name], before.state_dict()[name]) for name in edited)
    assert (logits(after) - logits(before)).abs().max() > 1e-2


def test_tied_embeddings_that_are_saved_along_are_an_edit_of_both(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama", tie_word_embeddings=True)
    save_without_effect(tmp_path / "lora", base, "embed_tokens", sizes={"tie_word_embeddings": True})
    state = load_model(tmp_path / "lora", Loading()).model.state_dict()
    assert torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    assert not torch.equal(state["lm_head.weight"], load_model(base, Loading()).model.state_dict()["lm_head.weight"])


def test_embeddings_below_factors_of_their_own_are_an_edit_too(base: Path, tmp_path: Path) -> None:
    save_without_effect(tmp_path, base, "embed_tokens", target_modules=["embed_tokens"])
    embeddings = load_model(tmp_path, Loading()).model.get_input_embeddings().weight
    edited = tiny_model("llama").get_input_embeddings().weight.clone()
    edited[5] += 1
    assert torch.equal(embeddings, edited)


def test_a_retrained_layer_that_peft_saves_twice_is_taken_once(base: Path, tmp_path: Path) -> None:
    save_without_effect(tmp_path, base, "lm_head.modules_to_save", modules_to_save=["lm_head"])
    head = "base_model.model.lm_head.modules_to_save.weight"
    assert torch.equal(load_model(tmp_path, Loading()).model.lm_head.weight, load_file(tmp_path / WEIGHTS)[head])
    change_weights(tmp_path, lambda tensors: tensors[head].add_(1), WEIGHTS)
    assert f"1 weights are in only one of the two, {head!r}" in refusal(tmp_path)


@pytest.mark.parametrize("options", [{}, {"modules_to_save": ["lm_head"]}, {"trainable_token_indices": [3, 4]}])
def test_weights_that_are_brought_along_as_they_are_in_the_base_are_no_edit(
    options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    save_without_effect(tmp_path, base, **options)
    assert "changes nothing" in refusal(tmp_path)
    if "trainable_token_indices" not in options:  # peft keeps those in float32, and the base is rounded
        assert "changes nothing" in refusal(tmp_path, Loading(dtype="bfloat16"))


def test_a_bias_that_is_brought_along_as_it_is_in_the_base_is_no_edit(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", "gpt2")
    config = lora(target_modules=["c_attn"], bias="all", fan_in_fan_out=True)
    save_adapter(tmp_path / "lora", config, tmp_path / "base", architecture="gpt2", effect=0)
    assert "changes nothing" in refusal(tmp_path / "lora")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "configuration cut short": (
        lambda a: (a / "adapter_config.json").write_text('{"peft_type":'),
        r"adapter_config.json:1:\d+: not valid JSON",
    ),
    "an unknown kind": (lambda a: change_json(a / "adapter_config.json", peft_type="QUUX"), "no adapters of .*'QUUX'"),
    "no kind": (lambda a: change_json(a / "adapter_config.json", peft_type=None), "no adapters of 'peft_type' None"),
    "another task": (
        lambda a: change_json(a / "adapter_config.json", task_type="SEQ_CLS"),
        "an adapter for SEQ_CLS, not for causal language models",
    ),
    "a setting of the future": (
        lambda a: change_json(a / "adapter_config.json", use_quux=True),
        "does not know 'use_quux' and would ignore it",
    ),
    "no base": (
        lambda a: change_json(a / "adapter_config.json", base_model_name_or_path=None),
        "does not name its base model; give it with --base",
    ),
    "a base that is gone": (
        lambda a: change_json(a / "adapter_config.json", base_model_name_or_path="/gone/base"),
        "no model at '/gone/base'",
    ),
    "no weights": (lambda a: (a / WEIGHTS).unlink(), f"holds no weights: there is no {WEIGHTS}"),
    "weights cut short": (lambda a: (a / WEIGHTS).write_bytes(b"1234"), "corrupt or truncated"),
    "a missing weight": (
        lambda a: change_weights(a, lambda t: t.popitem(), WEIGHTS),
        "does not fit its base model: 1 weights are in only one of the two",
    ),
    "a weight too many": (
        lambda a: change_weights(
            a, lambda t: t.update({"base_model.model.quux.lora_A.weight": torch.ones(1)}), WEIGHTS
        ),
        "1 weights are in only one of the two, 'base_model.model.quux.lora_A.weight' first",
    ),
    "another rank": (lambda a: change_json(a / "adapter_config.json", r=5), "size mismatch"),
    "layers that the base lacks": (
        lambda a: change_json(a / "adapter_config.json", target_modules=["quux_proj"]),
        "quux_proj",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(name: str, adapter: Path, tmp_path: Path) -> None:
    damage, expected = DAMAGE[name]
    assert re.search(expected, refusal(damaged(adapter, tmp_path, damage)))


def test_an_adapter_of_another_architecture_or_size_does_not_fit(adapter: Path, tmp_path: Path) -> None:
    gpt2 = save_tiny(tmp_path / "gpt2", "gpt2")
    assert "Target modules" in refusal(adapter, base=gpt2)
    wider = save_tiny(tmp_path / "wider", "llama", hidden_size=64)
    assert "size mismatch" in refusal(adapter, base=wider)
    shallower = save_tiny(tmp_path / "shallower", "llama", num_hidden_layers=1)
    assert re.search(r"4 weights are in only one of the two, '.*layers\.1\.", refusal(adapter, base=shallower))


def test_a_pickled_adapter_needs_permission(adapter: Path, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(adapter, folder)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    assert "only pickle weights (adapter_model.bin)" in refusal(folder)
    loaded = load_model(folder, Loading(trust=Trust(pickle=True)))
    assert fingerprint(loaded.model).key == fingerprint(load_model(adapter, Loading()).model).key


def test_a_base_named_by_a_relative_path_is_found_from_the_adapter_too(
    adapter: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter.parent / "relative"
    shutil.copytree(adapter, folder)
    change_json(folder / "adapter_config.json", base_model_name_or_path="../base")
    monkeypatch.chdir(tmp_path)
    assert Path(base_name(folder) or "").resolve() == base.resolve()
    assert torch.equal(logits(load_model(folder, Loading()).model), logits(load_model(adapter, Loading()).model))
    monkeypatch.chdir(folder)
    assert Path(base_name(folder) or "").resolve() == base.resolve()


def test_only_adapters_name_a_base_and_a_hub_base_keeps_its_revision(adapter: Path, base: Path, tmp_path: Path) -> None:
    assert base_name(adapter) == str(base)
    assert base_name(base) is None
    assert base_name("EleutherAI/pythia-70m") is None
    folder = tmp_path / "of-hub"
    shutil.copytree(adapter, folder)
    change_json(folder / "adapter_config.json", base_model_name_or_path="a/b", revision="v1")
    assert base_name(folder) == "a/b@v1"


def test_another_base_can_be_given_but_not_another_adapter(adapter: Path, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", "llama", seed=5)
    on_other = load_model(adapter, Loading(), base=other)
    untouched = "model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(on_other.model.state_dict()[untouched], tiny_model("llama", seed=5).state_dict()[untouched])
    assert "is itself an adapter" in refusal(adapter, base=adapter)


def test_the_tokenizer_is_the_adapters_own_if_it_has_one(adapter: Path, tmp_path: Path) -> None:
    assert load_model(adapter, Loading()).tokenizer("The").input_ids == tiny_tokenizer("plain")("The").input_ids
    folder = tmp_path / "own"
    shutil.copytree(adapter, folder)
    tiny_tokenizer("bos").save_pretrained(folder)
    assert load_model(folder, Loading()).tokenizer("The").input_ids == tiny_tokenizer("bos")("The").input_ids


def test_an_adapter_that_needs_more_than_token_ids_is_one_line(base: Path, tmp_path: Path) -> None:
    config = peft.MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, num_tasks=2)
    model = peft.get_peft_model(tiny_model("llama"), config)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(tmp_path)
    assert "task_ids cannot be None" in refusal(tmp_path)
