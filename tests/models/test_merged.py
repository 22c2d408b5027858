"""An adapter in training is scored as its artefact will be, and is afterwards what it was: to the last bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from model_cases import lora

from canonbench.likelihood.engine import log_likelihoods
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.artefacts.delta import as_scored
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from tiny_models import save_tiny, tiny_tokenizer

PAIRS = [("The capital of France is", " Paris"), ("The capital of", " Japan"), ("She said that the nurse", " was late")]
MLP = {"llama": ["up_proj", "down_proj"], "gpt2": ["c_fc", "mlp.c_proj"]}
CAUSAL = {"task_type": "CAUSAL_LM"}


def lora_on(*targets: str, **options: Any) -> Callable[[], peft.PeftConfig]:
    return lambda: lora(target_modules=list(targets), **options)


MERGED: dict[str, tuple[str, dict[str, Any], Callable[[], peft.PeftConfig]]] = {
    "lora": ("llama", {}, lora_on(*MLP["llama"])),
    "lora on Conv1D": ("gpt2", {}, lora_on(*MLP["gpt2"], fan_in_fan_out=True)),
    "lora and biases": ("gpt2", {}, lora_on(*MLP["gpt2"], fan_in_fan_out=True, bias="lora_only")),
    "lora on embeddings and output": ("llama", {}, lora_on("embed_tokens", "lm_head")),
    "lora on tied embeddings": ("llama", {"tie_word_embeddings": True}, lora_on("embed_tokens", "up_proj")),
    "lora below tied embeddings": ("llama", {"tie_word_embeddings": True}, lora_on("up_proj")),
    "lora and a retrained layer": ("llama", {}, lora_on("up_proj", modules_to_save=["lm_head"])),
    "lora and retrained tokens": ("llama", {}, lora_on("up_proj", trainable_token_indices=[3, 4])),
    "lora and retrained tied tokens": (
        "llama",
        {"tie_word_embeddings": True},
        lora_on("up_proj", trainable_token_indices=[3, 4]),
    ),
    "dora": ("llama", {}, lora_on(*MLP["llama"], use_dora=True)),
    "adalora": ("llama", {}, lambda: peft.AdaLoraConfig(**CAUSAL, target_modules=MLP["llama"], total_step=10)),
    "vera": ("llama", {}, lambda: peft.VeraConfig(**CAUSAL, target_modules=["up_proj"], r=4)),
    "ia3": (
        "llama",
        {},
        lambda: peft.IA3Config(**CAUSAL, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ),
    "layer norms": ("llama", {}, lambda: peft.LNTuningConfig(**CAUSAL, target_modules=["input_layernorm"])),
    "layer norms with biases": ("gpt2", {}, lambda: peft.LNTuningConfig(**CAUSAL, target_modules=["ln_1", "ln_f"])),
}
WRAPPED: dict[str, tuple[str, dict[str, Any], Callable[[], peft.PeftConfig]]] = {
    "prompt tuning": ("llama", {}, lambda: peft.PromptTuningConfig(**CAUSAL, num_virtual_tokens=5)),
    "prefix tuning": ("gpt2", {}, lambda: peft.PrefixTuningConfig(**CAUSAL, num_virtual_tokens=5)),
}
ALL = MERGED | WRAPPED


def adapted(base: Path, config: peft.PeftConfig, *, dtype: str = "auto", name: str = "default") -> peft.PeftModel:
    """An adapter as a training loop has it: on its base, every trained weight moved, in training mode."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # peft's doubts about tied weights are what is tested here
        torch.manual_seed(1)
        model = peft.get_peft_model(load_model(base, Loading(dtype=dtype)).model, config, adapter_name=name)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model.train()


def scores(model: Any) -> list[Any]:
    return [found.tokens for found in log_likelihoods(model, tiny_tokenizer("plain"), PAIRS)]


def state_of(model: Any) -> dict[str, Any]:
    """All that training could trip over: weights and where they are, modules, modes, settings."""
    return {
        "weights": {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()},
        "parameters": {name: (id(each), each.requires_grad) for name, each in model.named_parameters()},
        "modules": {name: (id(module), module.training) for name, module in model.named_modules()},
        "settings": [dict(model.config.to_dict()), model.peft_config, model.active_adapters],
        "merged": {n: list(m.merged_adapters) for n, m in model.named_modules() if hasattr(m, "merged_adapters")},
    }


def require_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = before["weights"], after["weights"]
    for part in before.keys() - {"weights"}:
        assert before[part] == after[part], part
    assert old.keys() == new.keys()
    for name, (place, content) in old.items():
        assert new[name][0] == place, name
        assert torch.equal(new[name][1], content), name


@pytest.mark.parametrize("kind", ALL)
def test_scores_in_training_are_those_of_the_artefact_bit_for_bit(kind: str, tmp_path: Path) -> None:
    architecture, options, config = ALL[kind]
    base = save_tiny(tmp_path / "base", architecture, **options)
    loaded = load_model(base, Loading())
    unedited, base_fingerprint = scores(loaded.model), fingerprint(loaded.model)
    model = adapted(base, config())
    before = state_of(model)
    with as_scored(model) as scored:
        assert (scored is model) == (kind in WRAPPED)
        assert not any(module.training for module in scored.modules())
        measured, key = scores(scored), fingerprint(scored).key
    require_same(before, state_of(model))
    save_artefact(model, tmp_path / "kept", base=loaded.source, base_fingerprint=base_fingerprint, record={})
    require_same(before, state_of(model))
    opened = load_model(tmp_path / "kept", Loading()).model
    assert all(map(np.array_equal, scores(opened), measured))
    assert fingerprint(opened).key == key
    assert not any(map(np.array_equal, measured, unedited))  # or the test would show nothing


@pytest.mark.parametrize("kind", ["lora on Conv1D", "dora", "lora and retrained tied tokens", "ia3"])
def test_training_goes_on_as_if_nothing_had_been_scored(kind: str, tmp_path: Path) -> None:
    architecture, options, config = ALL[kind]
    base = save_tiny(tmp_path / "base", architecture, **options)
    trained = []
    for interrupted in (False, True):
        model = adapted(base, config())
        optimizer = torch.optim.Adam((each for each in model.parameters() if each.requires_grad), lr=0.01)
        ids = torch.arange(20)[None]
        torch.manual_seed(0)  # of dropout
        for _ in range(3):
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if interrupted:
                with as_scored(model) as scored:
                    scores(scored)
        trained.append(model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_in_half_precision_an_adapter_is_scored_unmerged_here_and_there(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama")
    how = Loading(dtype="bfloat16")
    loaded = load_model(base, how)
    model = adapted(base, lora(), dtype="bfloat16")
    with as_scored(model) as scored:
        assert scored is model
        measured = scores(scored)
    mark = fingerprint(loaded.model)
    save_artefact(model, tmp_path / "kept", base=loaded.source, base_fingerprint=mark, record={})
    assert all(map(np.array_equal, scores(load_model(tmp_path / "kept", how).model), measured))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_that_changes_nothing_is_seen_to_be_its_base(dtype: str, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama")
    unedited = load_model(base, Loading(dtype=dtype)).model
    model = peft.get_peft_model(load_model(base, Loading(dtype=dtype)).model, lora())
    with as_scored(model) as scored:
        assert fingerprint(scored).key == fingerprint(unedited).key


def test_what_goes_wrong_inside_leaves_no_trace(tmp_path: Path) -> None:
    model = adapted(save_tiny(tmp_path / "base", "llama"), lora())
    before = state_of(model)
    with pytest.raises(RuntimeError, match="out of memory"), as_scored(model):
        raise RuntimeError("out of memory")
    require_same(before, state_of(model))


def test_a_plain_model_is_scored_as_it_is_and_gets_its_mode_back(tmp_path: Path) -> None:
    model = load_model(save_tiny(tmp_path / "base", "llama"), Loading()).model
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    with as_scored(model) as scored:
        assert scored is model
        assert not any(module.training for module in scored.modules())
    assert [module.training for module in model.modules()] == modes
    wrapper = InContext(model.eval(), [3, 4, 5])
    with as_scored(wrapper) as scored:
        assert scored is wrapper
