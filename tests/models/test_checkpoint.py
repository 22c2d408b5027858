from __future__ import annotations

import codecs
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import change_json, change_weights, damaged, logits
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM

from canonbench.errors import CanonbenchError
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from tiny_models import save_tiny, tiny_model, tiny_tokenizer

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("saved") / "llama", "llama")


@pytest.fixture(scope="module")
def sharded(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "llama"
    shutil.copytree(saved, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tiny_model("llama").save_pretrained(folder, max_shard_size="60KB")
    return folder


def refusal(folder: Path, how: Loading | None = None) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_model(folder, how or Loading())
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change_index(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    path = folder / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    change(content["weight_map"])
    path.write_text(json.dumps(content))


def save_whole(folder: Path, seed: int) -> None:
    save_file(tiny_model("llama", seed=seed).state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def pickled(saved: Path, folder: Path, content: Any) -> Path:
    shutil.copytree(saved, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_a_saved_model_comes_back_as_it_was(saved: Path, sharded: Path) -> None:
    for folder in (saved, sharded):
        loaded = load_model(folder, Loading())
        assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))
        assert loaded.tokenizer("The capital").input_ids == tiny_tokenizer()("The capital").input_ids
        assert (loaded.dtype, loaded.model.training, loaded.source.kind) == ("float32", False, "folder")


def with_weights_in(model: Any, dtype: torch.dtype) -> Any:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


@pytest.mark.parametrize("architecture", ["llama", "gptj", "gemma"])
def test_auto_widens_small_models_and_leaves_what_they_compute_exact(architecture: str, tmp_path: Path) -> None:
    with_weights_in(tiny_model(architecture), torch.bfloat16).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    rounded = with_weights_in(with_weights_in(tiny_model(architecture), torch.bfloat16), torch.float32)
    assert torch.equal(logits(load_model(tmp_path, Loading()).model), logits(rounded))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_named_dtype_rounds_the_weights_but_not_the_rotary_frequencies(dtype: str, saved: Path) -> None:
    loaded = load_model(saved, Loading(dtype=dtype))
    assert loaded.dtype == dtype
    assert torch.equal(loaded.model.model.rotary_emb.inv_freq, tiny_model("llama").model.rotary_emb.inv_freq)


def with_mark(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())


Damage = Callable[[Path], Any]
DAMAGE: dict[str, tuple[Damage, str]] = {
    "truncated weights": (lambda m: cut(m / "model.safetensors", 20_000), "corrupt or truncated"),
    "empty weights": (lambda m: cut(m / "model.safetensors", 0), "corrupt or truncated"),
    "garbage for weights": (lambda m: (m / "model.safetensors").write_bytes(b"\xff" * 999), "corrupt or truncated"),
    "weights in a folder of the folder": (
        lambda m: [(m / "model.safetensors").unlink(), save_tiny(m / "checkpoint-9"), save_tiny(m / "checkpoint-10")],
        "holds no weights: .*give the model or adapter in its folder instead: .*/checkpoint-10; 1 more of its folders",
    ),
    "no weights": (
        lambda m: (m / "model.safetensors").unlink(),
        "there is no model.safetensors or model.safetensors.index",
    ),
    "weights by another name": (
        lambda m: (m / "model.safetensors").rename(m / "weights.safetensors"),
        "holds no weights",
    ),
    "a missing weight": (
        lambda m: change_weights(m, lambda t: t.pop(UP)),
        f"lacks 1 of the model's weights, '{UP}' first",
    ),
    "a missing output layer": (
        lambda m: change_weights(m, lambda t: t.pop("lm_head.weight")),
        "'lm_head.weight' first",
    ),
    "a weight too many": (
        lambda m: change_weights(m, lambda t: t.update({"model.layers.1.mlp.up_proj.bias": torch.zeros(64)})),
        "1 weights that LlamaForCausalLM does not use, 'model.layers.1.mlp.up_proj.bias' first",
    ),
    "a layer too many": (
        lambda m: change_json(m / "config.json", num_hidden_layers=1),
        "'model.layers.1.input_layernorm",
    ),
    "a weight of another shape": (
        lambda m: change_weights(m, lambda t: t.update({UP: torch.zeros(63, 32)})),
        f"'{UP}' is 63x32, not 64x32",
    ),
    "config.json cut short": (lambda m: cut(m / "config.json", 20), r"config.json:\d+:\d+: not valid JSON"),
    "config.json with a byte order mark": (
        lambda m: with_mark(m / "config.json"),
        r"config.json begins with a byte .*sed",
    ),
    "config.json in UTF-16": (
        lambda m: (m / "config.json").write_text((m / "config.json").read_text(), encoding="utf-16"),
        "config.json cannot be read: it is UTF-16, not UTF-8; convert it with: iconv",
    ),
    "tokenizer_config.json with a byte order mark": (
        lambda m: with_mark(m / "tokenizer_config.json"),
        "tokenizer_config.json begins with a byte order mark",
    ),
    "tokenizer.json with a byte order mark": (
        lambda m: with_mark(m / "tokenizer.json"),
        "tokenizer.json begins with a",
    ),
    "merges.txt with a byte order mark": (
        lambda m: [(m / "merges.txt").write_text("t h"), with_mark(m / "merges.txt")],
        "merges.txt begins with a byte order mark",
    ),
    "generation_config.json with a byte order mark": (
        lambda m: with_mark(m / "generation_config.json"),
        "generation_config.json begins with a byte order mark",
    ),
    "config.json a list": (lambda m: (m / "config.json").write_text("[]"), "config.json: expected a JSON object"),
    "config.json not text": (
        lambda m: (m / "config.json").write_bytes(b"\xff\xfe"),
        "config.json cannot be read: it is UTF-16",
    ),
    "no architecture": (lambda m: change_json(m / "config.json", model_type=None), "model_type"),
    "an unknown architecture": (lambda m: change_json(m / "config.json", model_type="quux"), "model type `quux`"),
    "not a language model": (lambda m: change_json(m / "config.json", model_type="vit"), "ViTConfig"),
    "an impossible size": (
        lambda m: change_json(m / "config.json", hidden_size=33),
        r"hidden size \(33\) is not a multiple",
    ),
    "a size that is no number": (
        lambda m: change_json(m / "config.json", hidden_size="a"),
        "'hidden_size' expected int",
    ),
    "its own code": (
        lambda m: change_json(m / "config.json", model_type="quux", auto_map={"AutoConfig": "m.C"}),
        "pass --trust-remote-code",
    ),
    "a tokenizer with its own code": (
        lambda m: change_json(
            m / "tokenizer_config.json", tokenizer_class="Quux", auto_map={"AutoTokenizer": ["m.T", None]}
        ),
        "the tokenizer of .*pass --trust-remote-code",
    ),
    "quantized": (
        lambda m: change_json(m / "config.json", quantization_config={"quant_method": "bitsandbytes"}),
        r"is quantized \(bitsandbytes\).*dequantize it",
    ),
    "quantized in a way we cannot read": (
        lambda m: change_json(m / "config.json", quantization_config=["quux"]),
        "is quantized .*quux",
    ),
    "no tokenizer": (lambda m: [path.unlink() for path in m.glob("tokenizer*")], "has no tokenizer.*save_pretrained"),
    "a tokenizer without its vocabulary": (lambda m: (m / "tokenizer.json").unlink(), "cannot load the tokenizer"),
    "tokenizer.json cut short": (lambda m: cut(m / "tokenizer.json", 999), r"tokenizer.json:\d+:\d+: not valid JSON"),
    "tokenizer_config.json cut short": (
        lambda m: cut(m / "tokenizer_config.json", 9),
        r"tokenizer_config.json:\d+:\d+: not valid JSON",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(name: str, saved: Path, tmp_path: Path) -> None:
    damage, expected = DAMAGE[name]
    assert re.search(expected, refusal(damaged(saved, tmp_path, damage)))


SHARD_DAMAGE: dict[str, tuple[Damage, str]] = {
    "a shard is missing": (
        lambda m: (m / "model-00002-of-00003.safetensors").unlink(),
        r"its index names model-00002-of-00003.safetensors, which is not there \(1 missing in all\)",
    ),
    "a shard is cut short": (lambda m: cut(m / "model-00003-of-00003.safetensors", 9999), "corrupt or truncated"),
    "the index is missing": (lambda m: (m / "model.safetensors.index.json").unlink(), "holds no weights"),
    "the index is cut short": (lambda m: cut(m / "model.safetensors.index.json", 99), "index.json:.*not valid JSON"),
    "the index is empty": (lambda m: (m / "model.safetensors.index.json").write_text("{}"), "it has no 'weight_map'"),
    "a shard lacks a weight": (
        lambda m: change_weights(m, lambda t: t.pop("lm_head.weight"), "model-00003-of-00003.safetensors"),
        r"index.json places 'lm_head.weight' in model-00003-of-00003.*, which does not hold it \(no shard does\)",
    ),
    "the index places a weight in another shard": (
        lambda m: change_index(m, lambda shards: shards.update({UP: "model-00003-of-00003.safetensors"})),
        rf"places '{UP}' in model-00003-of-00003.* \(model-00002-of-00003.safetensors does\)",
    ),
    "a shard holds an old copy of another's weight": (
        lambda m: change_weights(m, lambda t: t.update({UP: torch.zeros(64, 32)}), "model-00003-of-00003.safetensors"),
        f"'{UP}' is in model-00002-of-00003.safetensors and, with other values, in model-00003-of-00003.safetensors",
    ),
    "an old whole file beside the index": (
        lambda m: save_whole(m, seed=1),
        r"holds two models: a whole model.safetensors and the shards of model.safetensors.index.json \('.*' differs",
    ),
    "an old whole file of another model beside the index": (
        lambda m: save_file({"x": torch.zeros(1)}, m / "model.safetensors"),
        "holds two models: a whole .* is in model.safetensors.index.json but not in model.safetensors",
    ),
    "a whole file beside an index whose shards are gone": (
        lambda m: [(m / "model-00001-of-00003.safetensors").unlink(), save_whole(m, seed=0)],
        "names model-00001-of-00003.safetensors, which is not there .*if model.safetensors is the whole model, delete",
    ),
}


@pytest.mark.parametrize("name", SHARD_DAMAGE)
def test_a_half_written_sharded_checkpoint_is_named(name: str, sharded: Path, tmp_path: Path) -> None:
    damage, expected = SHARD_DAMAGE[name]
    assert re.search(expected, refusal(damaged(sharded, tmp_path, damage)))


def test_copies_that_are_equal_do_no_harm(sharded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(sharded, folder)
    save_file(tiny_model("llama").state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    up = tiny_model("llama").state_dict()[UP]
    change_weights(folder, lambda tensors: tensors.update({UP: up}), "model-00003-of-00003.safetensors")
    assert torch.equal(logits(load_model(folder, Loading()).model), logits(tiny_model("llama")))


def test_an_index_of_one_whole_file_is_no_second_model(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved, folder)
    weights = dict.fromkeys(tiny_model("llama").state_dict(), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert torch.equal(logits(load_model(folder, Loading()).model), logits(tiny_model("llama")))


def test_of_pickles_too_the_index_and_the_whole_file_must_agree(saved: Path, tmp_path: Path) -> None:
    old, new = tiny_model("llama", seed=1).state_dict(), tiny_model("llama").state_dict()
    folder = pickled(saved, tmp_path / "m", old)
    torch.save(new, folder / "pytorch_model-00001-of-00001.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(new, "pytorch_model-00001-of-00001.bin")}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "holds two models: a whole pytorch_model.bin" in refusal(folder, Loading(trust=Trust(pickle=True)))
    (folder / "pytorch_model.bin").unlink()
    loaded = load_model(folder, Loading(trust=Trust(pickle=True)))
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))


@pytest.mark.parametrize(("architecture", "body"), [("llama", "model"), ("gpt2", "transformer")])
def test_a_weight_that_is_there_by_two_names_is_not_chosen_by_chance(
    architecture: str, body: str, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "m", architecture)
    name = next(name for name in tiny_model(architecture).state_dict() if name.startswith(f"{body}."))
    old = name.removeprefix(f"{body}.")
    change_weights(folder, lambda tensors: tensors.update({old: 2 * tensors[name]}))
    assert f"holds one weight by two names, {old!r} and {name!r}" in refusal(folder)


def test_a_configuration_that_names_another_file_of_weights_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved, folder)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    tiny_model("llama", seed=1).save_pretrained(folder)
    change_json(folder / "config.json", transformers_weights="other.safetensors")
    assert "names 'other.safetensors' as the file of the weights" in refusal(folder)


def test_code_beside_a_known_architecture_is_not_run(saved: Path, tmp_path: Path) -> None:
    folder, ran = tmp_path / "m", tmp_path / "ran"
    shutil.copytree(saved, folder)
    (folder / "m.py").write_text(f"open({str(ran)!r}, 'w')")
    change_json(folder / "config.json", auto_map={"AutoConfig": "m.C", "AutoModelForCausalLM": "m.M"})
    assert type(load_model(folder, Loading()).model).__name__ == "LlamaForCausalLM"
    assert not ran.exists()


REMOTE_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class TheirConfig(LlamaConfig):
    model_type = "theirs"
class TheirModel(LlamaForCausalLM):
    config_class = TheirConfig
"""


def test_their_own_code_runs_only_when_it_is_trusted(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(saved, folder)
    (folder / "theirs.py").write_text(REMOTE_CODE)
    auto_map = {"AutoConfig": "theirs.TheirConfig", "AutoModelForCausalLM": "theirs.TheirModel"}
    change_json(folder / "config.json", model_type="theirs", auto_map=auto_map)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    assert "--trust-remote-code" in refusal(folder)
    loaded = load_model(folder, Loading(trust=Trust(remote_code=True)))
    assert type(loaded.model).__name__ == "TheirModel"
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))


class Code:
    """Unpickled without care, it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_pickle_needs_permission_and_then_equals_the_safetensors(saved: Path, tmp_path: Path) -> None:
    folder = pickled(saved, tmp_path / "m", tiny_model("llama").state_dict())
    assert "only pickle weights (pytorch_model.bin); convert them" in refusal(folder)
    loaded = load_model(folder, Loading(trust=Trust(pickle=True)))
    assert fingerprint(loaded.model).weights == fingerprint(load_model(saved, Loading()).model).weights


def test_code_in_a_pickle_is_never_run_even_with_permission(saved: Path, tmp_path: Path) -> None:
    folder = pickled(saved, tmp_path / "m", {"lm_head.weight": Code(tmp_path / "proof")})
    assert "holds code, which is never run" in refusal(folder, Loading(trust=Trust(pickle=True)))
    assert not (tmp_path / "proof").exists()


def test_a_truncated_pickle_is_one_line(saved: Path, tmp_path: Path) -> None:
    folder = pickled(saved, tmp_path / "m", tiny_model("llama").state_dict())
    cut(folder / "pytorch_model.bin", 9999)
    assert "cannot load model" in refusal(folder, Loading(trust=Trust(pickle=True)))


def test_safetensors_are_preferred_even_where_pickles_are_allowed(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(saved, folder)
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    assert torch.equal(logits(load_model(folder, Loading(trust=Trust(pickle=True))).model), logits(tiny_model("llama")))


def test_buffers_that_old_checkpoints_stored_are_not_taken_for_edits(tmp_path: Path) -> None:
    for architecture, buffer in (
        ("gpt2", "transformer.h.0.attn.masked_bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"),
        ("gptj", "transformer.h.1.attn.bias"),
    ):
        folder = save_tiny(tmp_path / architecture, architecture)
        change_weights(folder, lambda tensors, buffer=buffer: tensors.update({buffer: torch.ones(1)}))
        assert torch.equal(logits(load_model(folder, Loading()).model), logits(tiny_model(architecture)))


def test_an_output_layer_edited_apart_from_its_tied_embeddings_is_not_ignored(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m", "llama", tie_word_embeddings=True)
    before = logits(load_model(folder, Loading()).model)
    change_weights(folder, lambda t: t.update({"lm_head.weight": 2 * t["model.embed_tokens.weight"]}))
    assert torch.allclose(logits(load_model(folder, Loading()).model), 2 * before, atol=1e-5)


def test_a_masked_language_model_is_refused_because_it_sees_the_answer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertForMaskedLM(BertConfig(vocab_size=384, initializer_range=0.2, **sizes))
    tiny_tokenizer().save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert "sees the tokens that it is to predict" in refusal(tmp_path)
