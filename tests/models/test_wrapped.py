"""Checkpoints and adapters saved out of torch.compile, DistributedDataParallel, FSDP or PEFT."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from model_cases import change_json, change_weights, logits, lora, save_adapter
from safetensors.torch import save_file

from canonbench.errors import CanonbenchError
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import LoadedModel, Loading, load_model
from canonbench.models.weight_files import unwrapped
from tiny_models import save_tiny, tiny_model

WEIGHTS = "adapter_model.safetensors"


def renamed(rename: Callable[[str], str]) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        new = {rename(name): value for name, value in tensors.items()}
        tensors.clear()
        tensors.update(new)

    return change


def loaded_with_notes(folder: Path, **options: Any) -> tuple[LoadedModel, list[str]]:
    notes: list[str] = []
    return load_model(folder, Loading(say=notes.append, **options)), notes


def saved_out_of(folder: Path, wrapped: torch.nn.Module) -> Path:
    """A checkpoint whose weights are the state dict of a wrapper around a tiny llama."""
    save_tiny(folder, "llama")
    state = {name: value.clone() for name, value in wrapped.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def compiled_block(model: Any) -> Any:
    model.model.layers[0] = torch.compile(model.model.layers[0])
    return model


class Module(torch.nn.Module):
    """As DistributedDataParallel names things, without a process group."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module


class Trainer(torch.nn.Module):
    """Somebody's own wrapper."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.net = module


WRAPPERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "compiled": (torch.compile, "torch.compile ('_orig_mod.')"),
    "a compiled block": (compiled_block, "torch.compile ('_orig_mod.')"),
    "ddp": (Module, "DistributedDataParallel ('module.')"),
    "ddp of a compiled one": (
        lambda model: Module(torch.compile(model)),
        "torch.compile ('_orig_mod.'), DistributedDataParallel ('module.')",
    ),
    "compiled ddp": (
        lambda model: torch.compile(Module(model)),
        "torch.compile ('_orig_mod.'), DistributedDataParallel ('module.')",
    ),
    "peft, merged": (
        lambda model: peft.PeftModel(model, lora(target_modules=["q_proj"])).merge_and_unload() and PeftNames(model),
        "PEFT ('base_model.model.')",
    ),
}


class PeftNames(torch.nn.Module):
    """As a PeftModel names things."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.base_model = torch.nn.Module()
        self.base_model.model = module


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_checkpoint_saved_out_of_a_wrapper_is_the_model_inside_and_that_is_said(name: str, tmp_path: Path) -> None:
    wrap, whose = WRAPPERS[name]
    folder = saved_out_of(tmp_path / "m", wrap(tiny_model("llama")))
    loaded, notes = loaded_with_notes(folder)
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))
    assert fingerprint(loaded.model).key == fingerprint(tiny_model("llama")).key
    assert notes == [
        f"{folder} was saved out of {whose}; its weights are read by the names that they have without that"
    ]


def test_what_was_unwrapped_is_saved_again_by_its_own_names(tmp_path: Path) -> None:
    loaded, _ = loaded_with_notes(saved_out_of(tmp_path / "m", torch.compile(tiny_model("llama"))))
    loaded.model.save_pretrained(tmp_path / "again")
    loaded.tokenizer.save_pretrained(tmp_path / "again")
    again, notes = loaded_with_notes(tmp_path / "again")
    assert not notes
    assert torch.equal(logits(again.model), logits(tiny_model("llama")))


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_shards_and_other_dtypes_are_unwrapped_too(dtype: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="60KB")
    plain, _ = loaded_with_notes(tmp_path, dtype=dtype)
    for shard in tmp_path.glob("model-*"):
        change_weights(tmp_path, renamed(lambda name: f"module.{name}"), shard.name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(re.sub(r'"([\w.]+)": "model-', r'"module.\1": "model-', index.read_text()))
    loaded, notes = loaded_with_notes(tmp_path, dtype=dtype)
    assert len(notes) == 1
    assert fingerprint(loaded.model).key == fingerprint(plain.model).key


def test_a_pickle_saved_out_of_a_wrapper_is_unwrapped_too(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m", "llama")
    (folder / "model.safetensors").unlink()
    torch.save(Module(tiny_model("llama")).state_dict(), folder / "pytorch_model.bin")
    loaded, _ = loaded_with_notes(folder, trust=Trust(pickle=True))
    assert torch.equal(logits(loaded.model), logits(tiny_model("llama")))


def refusal(folder: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_model(folder, Loading())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("names", [lambda model: model, lambda model: model.get_base_model()])
def test_a_model_with_its_adapter_still_on_says_how_to_merge_it(names: Callable[[Any], Any], tmp_path: Path) -> None:
    adapted = peft.get_peft_model(tiny_model("llama"), lora())
    assert "model = model.merge_and_unload()" in refusal(saved_out_of(tmp_path / "m", names(adapted)))


def test_an_unknown_wrapper_is_named_with_the_command_that_takes_it_away(tmp_path: Path) -> None:
    folder = saved_out_of(tmp_path / "m", Trainer(tiny_model("llama")))
    message = refusal(folder)
    assert "the names of its weights have 'net.' in front" in message
    command = shlex.split(message.partition("take it away with: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert torch.equal(logits(load_model(folder, Loading()).model), logits(tiny_model("llama")))


def test_nothing_is_taken_away_where_names_would_collide_or_not_all_have_the_prefix() -> None:
    assert unwrapped(["a._orig_mod.b", "a.b"]) is None
    assert unwrapped(["module.a", "b"]) is None
    assert unwrapped(["model.a", "model.b"]) is None
    assert unwrapped([]) is None


def test_fsdp_and_activation_checkpointing_leave_their_names_anywhere() -> None:
    found = unwrapped(["_fsdp_wrapped_module.h.0._checkpoint_wrapped_module.w", "_fsdp_wrapped_module.wte"])
    assert found is not None
    assert sorted(found.names.values()) == ["h.0.w", "wte"]
    assert "FSDP ('_fsdp_wrapped_module.')" in found.whose


def test_two_names_of_one_weight_in_an_adapter_are_refused(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, lora(), base)

    def twice(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({f"module.{name}": 2 * value for name, value in tensors.items()})

    change_weights(tmp_path, twice, WEIGHTS)
    assert "does not fit its base model" in refusal(tmp_path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("wrapped") / "base", "llama")


ADAPTER_NAMES: dict[str, tuple[Callable[[str], str], str]] = {
    "the prefix is missing": (
        lambda name: name.removeprefix("base_model.model."),
        "the prefix 'base_model.model.' is missing",
    ),
    "the prefix is there twice": (
        lambda name: f"base_model.model.{name}",
        "the prefix 'base_model.model.' is there 2 times",
    ),
    "compiled": (lambda name: f"_orig_mod.{name}", "saved out of torch.compile"),
    "of a compiled base": (
        lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
        "saved out of torch.compile",
    ),
    "ddp": (lambda name: f"module.{name}", "saved out of DistributedDataParallel"),
    "the adapter's name is left in": (
        lambda name: re.sub(r"(lora_[AB])\.", r"\1.default.", name),
        "the name of the adapter was left in",
    ),
}


@pytest.mark.parametrize("name", ADAPTER_NAMES)
def test_an_adapter_by_other_names_is_the_same_adapter_and_that_is_said(name: str, base: Path, tmp_path: Path) -> None:
    rename, why = ADAPTER_NAMES[name]
    save_adapter(tmp_path, lora(), base)
    plain, notes = loaded_with_notes(tmp_path)
    assert not notes
    change_weights(tmp_path, renamed(rename), WEIGHTS)
    loaded, notes = loaded_with_notes(tmp_path)
    assert fingerprint(loaded.model).key == fingerprint(plain.model).key
    assert [why in note for note in notes] == [True]


def test_retrained_layers_by_other_names_are_taken_too(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, lora(modules_to_save=["lm_head"]), base)
    plain, _ = loaded_with_notes(tmp_path)
    change_weights(tmp_path, renamed(lambda name: f"base_model.model.{name}"), WEIGHTS)
    loaded, _ = loaded_with_notes(tmp_path)
    assert fingerprint(loaded.model).key == fingerprint(plain.model).key


def test_names_that_are_wrong_and_incomplete_are_still_refused(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, lora(), base)
    change_weights(tmp_path, renamed(lambda name: f"module.{name}"), WEIGHTS)
    change_weights(tmp_path, lambda tensors: tensors.popitem(), WEIGHTS)
    assert "does not fit its base model" in refusal(tmp_path)


def test_an_adapter_in_a_folder_of_the_folder_is_pointed_out(base: Path, tmp_path: Path) -> None:
    for step in (500, 1000):
        save_adapter(tmp_path / "out" / f"checkpoint-{step}", lora(), base)
    message = refusal(tmp_path / "out")
    assert message.endswith(f"instead: {tmp_path / 'out' / 'checkpoint-1000'}; 1 more of its folders hold one too")


def test_a_whole_model_beside_an_adapter_is_not_passed_over(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(base, folder)
    save_adapter(folder, lora(), base)
    assert "holds an adapter (adapter_config.json) and a whole model (model.safetensors)" in refusal(folder)


def test_a_byte_order_mark_in_an_adapters_configuration_is_named(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, lora(), base)
    change_json(tmp_path / "adapter_config.json")
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    message = refusal(tmp_path)
    assert f"{path} begins with a byte order mark" in message
    subprocess.run(message.partition("take it away with: ")[2], shell=True, check=True)
    load_model(tmp_path, Loading())
