"""What holds for every kind of model; each kind has its own tests beside this file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_cases import logits
from safetensors.torch import load, save

from canonbench.errors import UsageError
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, in_memory, load_model, place
from canonbench.models.source import Source
from tiny_models import ARCHITECTURES, TOKENIZERS, save_tiny, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_loads_ready_to_be_scored(architecture: str, tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path, architecture), Loading())
    assert not loaded.model.training
    assert (loaded.dtype, loaded.device) == ("float32", torch.device("cpu"))
    assert torch.equal(logits(loaded.model), logits(tiny_model(architecture)))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_comes_back_as_it_was_saved(kind: str, tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path, "gpt2", tokenizer=kind), Loading())
    for text in ("The capital of France", " a", "It's  1234.\n"):
        for special in (True, False):
            saved = tiny_tokenizer(kind)(text, add_special_tokens=special).input_ids
            assert loaded.tokenizer(text, add_special_tokens=special).input_ids == saved


def test_a_model_in_memory_is_taken_where_and_as_it_is_but_evaluated() -> None:
    model = tiny_model("gpt2").to(torch.float64).train()
    loaded = in_memory(model, tiny_tokenizer(), "mine")
    assert loaded.model is model
    assert not model.training
    assert (loaded.dtype, loaded.source) == ("float64", Source("memory", "mine"))


def overwrite(path: Path, by: float) -> None:
    """New values in the same file, as a training that saves over its last checkpoint writes them."""
    content = save({name: by * value for name, value in load(path.read_bytes()).items()}, metadata={"format": "pt"})
    assert len(content) == path.stat().st_size
    with path.open("r+b") as file:
        file.write(content)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_file_that_is_overwritten_or_cut_does_not_change_the_model_that_was_loaded(
    dtype: str, tmp_path: Path
) -> None:
    tiny_model("llama").to(getattr(torch, dtype)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load_model(tmp_path, Loading(dtype=dtype))
    before, mark = logits(loaded.model), fingerprint(loaded.model)
    overwrite(tmp_path / "model.safetensors", 2.0)
    assert torch.equal(logits(loaded.model), before)
    assert fingerprint(loaded.model) == mark
    assert fingerprint(load_model(tmp_path, Loading(dtype=dtype)).model).weights != mark.weights
    (tmp_path / "model.safetensors").write_bytes(b"")  # weights still mapped from it would end the process
    assert torch.equal(logits(loaded.model), before)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "backpack"])
def test_tied_weights_are_still_one_when_they_are_copied(architecture: str, tmp_path: Path) -> None:
    model = load_model(save_tiny(tmp_path, architecture, tie_word_embeddings=True), Loading()).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in tiny_model(architecture, tie_word_embeddings=True).named_parameters()
    ]


def test_a_misspelled_device_or_dtype_is_told_before_anything_is_read_or_fetched() -> None:
    with pytest.raises(UsageError, match="device 'gpu'"):
        load_model("a/b", Loading(device="gpu"))
    with pytest.raises(UsageError, match="unknown dtype 'float23'"):
        load_model("a/b", Loading(dtype="float23"))


def test_placing_a_model_leaves_its_dtype_alone() -> None:
    assert place(tiny_model("llama").to(torch.bfloat16), Loading(device="cpu", dtype="float32")).dtype == torch.bfloat16


def test_names_of_models_are_read_without_a_heavy_library() -> None:
    program = (
        "import sys; import canonbench.model_names, canonbench.files, canonbench.network, canonbench.suite\n"
        "print(sorted({'torch', 'transformers', 'peft', 'huggingface_hub'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
