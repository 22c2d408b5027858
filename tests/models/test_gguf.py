from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gguf_cases import write_gguf
from model_cases import logits

from canonbench.errors import CanonbenchError
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from tiny_models import save_tiny, tiny_model, tiny_tokenizer

TEXTS = ["Hello world", "The capital of France, it's 1234.", "é\n\n x"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_model("llama"))


def refusal(path: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_model(path, Loading())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gguf_file_holds_the_same_model_and_tokenizer(file: Path) -> None:
    loaded = load_model(file, Loading())
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))
    assert fingerprint(loaded.model).weights == fingerprint(tiny_model("llama")).weights
    for text in TEXTS:
        assert loaded.tokenizer(text).input_ids == tiny_tokenizer("plain")(text).input_ids
    assert (loaded.source.kind, loaded.dtype) == ("gguf", "float32")


def test_an_unpacked_model_can_be_cast_and_saved_like_any_other(file: Path, tmp_path: Path) -> None:
    loaded = load_model(file, Loading())
    assert "quantization_config" not in loaded.model.config.to_dict()
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load_model(tmp_path, Loading(dtype="float64"))
    assert again.dtype == "float64"
    assert torch.allclose(logits(again.model), logits(loaded.model), atol=1e-4)


def test_nothing_that_lies_beside_the_file_is_taken_for_its_own(file: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path, "gpt2", tokenizer="bos")
    (tmp_path / "beside.gguf").write_bytes(file.read_bytes())
    loaded = load_model(tmp_path / "beside.gguf", Loading())
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert loaded.tokenizer("The").input_ids == tiny_tokenizer("plain")("The").input_ids


def test_a_file_in_the_working_folder_is_found_by_its_bare_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert torch.equal(logits(load_model("tiny.gguf", Loading()).model), logits(tiny_model("llama")))


@pytest.mark.parametrize("keep", [10, 5000, -50_000, -1])
def test_a_file_cut_short_says_so(keep: int, file: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.gguf"
    part.write_bytes(file.read_bytes()[:keep])
    assert "is the file truncated or corrupt?" in refusal(part)


@pytest.mark.parametrize("content", [b"", b"GG", b"not a gguf file at all"])
def test_another_kind_of_file_is_told_from_its_first_bytes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(content)
    assert "is not a GGUF file" in refusal(tmp_path / "fake.gguf")


def test_a_missing_tensor_and_an_unknown_architecture_are_named(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    lacking = write_gguf(tmp_path / "lacking.gguf", tiny_model("llama"), drop=name)
    assert f"lacks 1 of the model's weights, '{name}' first" in refusal(lacking)
    other = write_gguf(tmp_path / "other.gguf", tiny_model("llama"), architecture="quux")
    assert "GGUF files of architecture 'quux' are not supported, only llama, qwen2," in refusal(other)


@pytest.mark.parametrize("name", ["mistral", "Mistral 7B v0.1"])
def test_a_mistral_written_as_llama_is_a_llama(name: str, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), header={"general.name": name})
    loaded = load_model(file, Loading())
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))
    for text in TEXTS:
        assert loaded.tokenizer(text).input_ids == tiny_tokenizer("plain")(text).input_ids
    named = write_gguf(tmp_path / "named.gguf", tiny_model("llama"), architecture="mistral")
    assert "the architecture mistral, which GGUF does not have: a Mistral model is written as llama" in refusal(named)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("split")
    write_gguf(folder / "tiny.gguf", tiny_model("llama"), header={"llama.rope.freq_base": 500.0}, per_part=8)
    return sorted(folder.glob("tiny-*-of-*.gguf"))


def test_any_part_of_a_split_file_opens_the_whole(parts: list[Path]) -> None:
    assert len(parts) == 3
    expected = logits(tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 500.0}))
    for part in parts:
        loaded = load_model(part, Loading())
        assert torch.equal(logits(loaded.model), expected)
        assert loaded.tokenizer(TEXTS[0]).input_ids == tiny_tokenizer("plain")(TEXTS[0]).input_ids


def test_a_split_file_of_quantized_tensors_is_joined_as_it_is(tmp_path: Path) -> None:
    model = tiny_model("llama", hidden_size=64)
    whole = load_model(write_gguf(tmp_path / "whole.gguf", model, quantize=True), Loading())
    write_gguf(tmp_path / "split.gguf", model, quantize=True, per_part=8)
    split = load_model(tmp_path / "split-00002-of-00003.gguf", Loading())
    assert fingerprint(split.model).key == fingerprint(whole.model).key
    assert fingerprint(split.model).weights != fingerprint(model).weights


def test_parts_that_are_missing_or_mixed_up_are_named(parts: list[Path], tmp_path: Path) -> None:
    first, second, third = (tmp_path / part.name for part in parts)
    first.write_bytes(parts[0].read_bytes())
    assert "is one of 3 parts, of which 2 are missing, tiny-00002-of-00003.gguf first" in refusal(first)
    second.write_bytes(parts[2].read_bytes())
    third.write_bytes(parts[1].read_bytes())
    assert "tiny-00002-of-00003.gguf is part 3 of 3 by its header, but not by its name" in refusal(first)
    alone = tmp_path / "alone.gguf"
    alone.write_bytes(parts[0].read_bytes())
    assert "alone.gguf is part 1 of 3 by its header, but not by its name" in refusal(alone)


def test_without_room_to_join_the_parts_the_line_says_so(parts: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    assert "which has 0.0 GB; set TMPDIR to a folder with more" in refusal(parts[0])


def test_without_the_gguf_package_the_line_says_how_to_install_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else find_spec(name, *rest)
    )
    monkeypatch.delitem(sys.modules, "gguf", raising=False)
    assert refusal(file).endswith('pip install "canonbench[demo]"')
