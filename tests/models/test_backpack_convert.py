"""Published files of a Backpack, written as they are published: a pickle with copies and masks, remote code beside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import serve
from model_cases import change_json, damaged, logits
from safetensors.torch import save_file

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.backpack.convert import convert_backpack
from canonbench.models.load import Loading, load_model
from tiny_models import CONTEXT, save_tiny, tiny_model, tiny_tokenizer

PICKLE = "pytorch_model.bin"
WTE = "backpack.gpt2_model.wte.weight"
Tensors = dict[str, torch.Tensor]


def published_tensors() -> Tensors:
    """What ``tiny_model("backpack")`` computes with, as stanfordnlp/backpack-gpt2 holds it.

    Word and position embeddings are there under all their names, and a causal mask per layer.
    """
    tensors = dict(tiny_model("backpack").state_dict())
    tensors["backpack.word_embeddings.weight"] = tensors["lm_head.weight"] = tensors[WTE]
    tensors["backpack.position_embeddings.weight"] = tensors["backpack.gpt2_model.wpe.weight"]
    for layer in range(2):
        mask = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril()[None, None]
        tensors[f"backpack.gpt2_model.h.{layer}.attn.bias"] = mask
        tensors[f"backpack.gpt2_model.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    config = tiny_model("backpack").config.to_diff_dict() | {
        "_name_or_path": "somewhere",
        "architectures": ["BackpackGPT2LMHeadModel"],
        "auto_map": {"AutoModelForCausalLM": "backpack_model.BackpackGPT2LMHeadModel"},
        "model_type": "gpt2",
        "torch_dtype": "float32",
        "transformers_version": "4.28.1",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "backpack_model.py").write_text("raise SystemExit('remote code was run')\n", encoding="utf-8")
    torch.save(published_tensors(), folder / PICKLE)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer("plain").save_pretrained(folder)
    return str(folder)


def test_the_converted_folder_is_the_model_with_its_tokenizer(published: Path, tokenizer: str, tmp_path: Path) -> None:
    said: list[str] = []
    count = convert_backpack(published, tmp_path / "new", tokenizer=tokenizer, say=said.append)
    assert said == []
    model = tiny_model("backpack")
    assert count == sum(parameter.numel() for parameter in model.parameters())
    assert not list((tmp_path / "new").glob("*.py"))
    assert not list((tmp_path / "new").glob("*.bin"))
    assert "auto_map" not in (tmp_path / "new" / "config.json").read_text(encoding="utf-8")
    loaded = load_model(tmp_path / "new", Loading())
    assert type(loaded.model) is type(model)
    assert torch.equal(logits(loaded.model), logits(model))
    assert loaded.tokenizer("The capital").input_ids == tiny_tokenizer("plain")("The capital").input_ids
    assert loaded.model.lm_head.weight is loaded.model.get_input_embeddings().weight


def test_safetensors_are_taken_where_there_are_any_with_what_they_leave_out(
    published: Path, tokenizer: str, tmp_path: Path
) -> None:
    """Of tied tensors safetensors hold one, which may be under any of its names."""

    def as_safetensors(folder: Path) -> None:
        (folder / PICKLE).unlink()
        tensors = published_tensors()
        for name in (WTE, "backpack.word_embeddings.weight", "backpack.gpt2_model.wpe.weight"):
            del tensors[name]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    folder = damaged(published, tmp_path, as_safetensors)
    convert_backpack(folder, tmp_path / "new", tokenizer=tokenizer)
    assert torch.equal(logits(load_model(tmp_path / "new", Loading()).model), logits(tiny_model("backpack")))


def test_entries_that_nobody_knows_are_told(published: Path, tokenizer: str, tmp_path: Path) -> None:
    folder = damaged(published, tmp_path, lambda folder: change_json(folder / "config.json", rotary_share=0.5, b=1))
    said: list[str] = []
    convert_backpack(folder, tmp_path / "new", tokenizer=tokenizer, say=said.append)
    assert said == [f"{folder / 'config.json'}: left out what transformers does not know: b, rotary_share"]


def test_the_tokenizer_may_lie_beside_the_weights(published: Path, tmp_path: Path) -> None:
    folder = damaged(published, tmp_path, tiny_tokenizer("bos").save_pretrained)
    convert_backpack(folder, tmp_path / "new")
    assert load_model(tmp_path / "new", Loading()).tokenizer("a").input_ids[0] == 0


def with_tensors(change: Callable[[Tensors], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = published_tensors()
        change(tensors)
        torch.save(tensors, folder / PICKLE)

    return damage


class Code:
    """Pickled, it is a call of a function."""

    def __reduce__(self) -> Any:
        return print, ("code from a pickle was run",)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut off": (
        lambda folder: (folder / PICKLE).write_bytes((folder / PICKLE).read_bytes()[:2000]),
        rf"cannot load .*{PICKLE}: ",
    ),
    "no pickle at all": (lambda folder: (folder / PICKLE).write_text("hello"), rf"cannot load .*{PICKLE}: "),
    "code": (
        lambda folder: torch.save({WTE: Code()}, folder / PICKLE),
        rf"cannot load .*{PICKLE}: its pickle is corrupt, or holds code, which is never run",
    ),
    "a list": (lambda folder: torch.save([1, 2], folder / PICKLE), f"{PICKLE} does not hold tensors by their names"),
    "no weights": (lambda folder: (folder / PICKLE).unlink(), "holds no weights"),
    "a missing tensor": (
        with_tensors(lambda tensors: tensors.pop("backpack.sense_network.ln.bias")),
        "lacks 1 of a Backpack's weights, 'backpack.sense_network.ln.bias' first",
    ),
    "a tensor missing under all its names": (
        with_tensors(lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith(
            ("wpe.weight", "position_embeddings.weight"))]),
        "lacks 1 of a Backpack's weights, 'backpack.gpt2_model.wpe.weight' first",
    ),
    "a tensor too many": (
        with_tensors(lambda tensors: tensors.update({"backpack.gpt2_model.h.2.attn.c_attn.bias": torch.zeros(96)})),
        "has 1 weights that no Backpack has, 'backpack.gpt2_model.h.2.attn.c_attn.bias' first",
    ),
    "another shape": (
        with_tensors(lambda tensors: tensors.update({"backpack.sense_weight_net.c_attn.bias": torch.zeros(63)})),
        "'backpack.sense_weight_net.c_attn.bias' is 63 of torch.float32; its configuration calls for 64 of floating",
    ),
    "another type": (
        with_tensors(
            lambda tensors: tensors.update(
                {"backpack.sense_weight_net.c_attn.bias": torch.zeros(64, dtype=torch.long)}
            )
        ),
        "'backpack.sense_weight_net.c_attn.bias' is 64 of torch.int64; its configuration calls for 64 of floating",
    ),
    "an output layer of its own": (
        with_tensors(lambda tensors: tensors.update({"lm_head.weight": tensors[WTE] + 1e-3})),
        f"'{WTE}' and 'lm_head.weight' differ, which are one and the same in a Backpack",
    ),
    "a configuration that is none": (
        lambda folder: (folder / "config.json").write_text('{"model_type":'),
        r"config\.json:1:15: not valid JSON",
    ),
    "another kind of model": (
        lambda folder: change_json(folder / "config.json", model_type="llama"),
        r"config\.json is that of a llama; a published Backpack calls itself gpt2",
    ),
    "converted before": (
        lambda folder: change_json(folder / "config.json", model_type="backpack"),
        "is converted already; it opens as it is",
    ),
    "senses that do not divide the width": (
        lambda folder: change_json(folder / "config.json", num_senses=5),
        "num_senses=5 must divide n_embd=32",
    ),
    "another vocabulary": (
        lambda folder: change_json(folder / "config.json", vocab_size=50264),
        "the tokenizer of .* has 360 tokens and the model 50,264: it is not the one that the model was trained with",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    published: Path, tokenizer: str, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], Any], says: str,
) -> None:  # fmt: skip
    folder = damaged(published, tmp_path, damage)
    with pytest.raises(CanonbenchError, match=says) as caught:
        convert_backpack(folder, tmp_path / "new", tokenizer=tokenizer)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]
    assert "was run" not in "".join(capfd.readouterr())


def test_a_plain_gpt2_is_no_backpack(tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError, match=r"lacks \d+ of a Backpack's weights"):
        convert_backpack(save_tiny(tmp_path / "gpt2", "gpt2"), tmp_path / "new")


def test_misuse_is_told_before_anything_is_read(published: Path, tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    (tmp_path / "free").mkdir()
    with pytest.raises(UsageError, match=r"used is there already; give a new or empty folder$"):
        convert_backpack(published, tmp_path / "used", tokenizer=tokenizer)
    with pytest.raises(UsageError, match=r"has no tokenizer; give GPT-2's with --tokenizer"):
        convert_backpack(published, tmp_path / "free")
    with pytest.raises(UsageError, match=r"^--tokenizer no/such/folder: there is no such folder, and it is not a hub"):
        convert_backpack(published, tmp_path / "free", tokenizer="no/such/folder")
    with pytest.raises(UsageError, match=r"demo is neither a folder with a Backpack's published files nor a hub id"):
        convert_backpack("demo", tmp_path / "free", tokenizer=tokenizer)
    with pytest.raises(CanonbenchError, match=r"has no tokenizer; put the model's there"):
        convert_backpack(published, tmp_path / "free", tokenizer=str(tmp_path / "used"))
    assert list((tmp_path / "free").iterdir()) == []
    convert_backpack(published, tmp_path / "free", tokenizer=tokenizer)  # an empty folder is as good as a new one
    assert (tmp_path / "free" / "model.safetensors").is_file()


def test_without_a_network_what_would_be_fetched_is_named(published: Path, tmp_path: Path) -> None:
    for source, tokenizer, says in [
        (str(published), "tiny/tokenizer", "fetching the tokenizer tiny/tokenizer from the Hugging Face hub needs the"),
        ("tiny/backpack", None, "fetching model tiny/backpack from the Hugging Face hub needs the network"),
    ]:
        with pytest.raises(CanonbenchError, match=f"^{says}"):
            convert_backpack(source, tmp_path / "new", tokenizer=tokenizer)


def test_from_the_hub_come_the_pickle_and_the_tokenizers_small_files_and_no_code(
    published: Path, tmp_path: Path
) -> None:
    whole = save_tiny(tmp_path / "gpt2", "gpt2")  # a tokenizer's repository holds weights, too
    command = [sys.executable, "-m", "canonbench", "convert-backpack", "tiny/backpack@v1", "--tokenizer", "tiny/gpt2"]
    with serve({"tiny/backpack": {"v1": published}, "tiny/gpt2": {"main": whole}}, gated=set()) as (endpoint, asked):
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "*"}
        runs = [
            subprocess.run(
                [*command, str(tmp_path / name)],
                capture_output=True, text=True, check=False, env={**os.environ, **settings, **more},
            )
            for name, more in (("new", {"CANONBENCH_OFFLINE": "0"}), ("again", {"CANONBENCH_OFFLINE": "1"}))
        ]  # fmt: skip
    assert [run.returncode for run in runs] == [0, 0], runs
    assert runs[0].stderr.splitlines() == [
        "network: fetching model tiny/backpack@v1 from the Hugging Face hub",
        "network: fetching the tokenizer tiny/gpt2 from the Hugging Face hub",
    ]
    fetched = {line.rpartition("/")[2] for line in asked if "/resolve/" in line}
    assert {PICKLE, "config.json", "tokenizer.json"} <= fetched
    assert not any(name.endswith((".py", ".safetensors")) for name in fetched)
    for name in ("new", "again"):  # the second time from the hub's cache
        assert torch.equal(logits(load_model(tmp_path / name, Loading()).model), logits(tiny_model("backpack")))
