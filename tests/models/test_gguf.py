from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from model_cases import logits, write_gguf

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
    assert re.search("architecture quux is not supported", refusal(other))


def test_without_the_gguf_package_the_line_says_how_to_install_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else find_spec(name, *rest)
    )
    monkeypatch.delitem(sys.modules, "gguf", raising=False)
    assert refusal(file).endswith('pip install "canonbench[demo]"')
