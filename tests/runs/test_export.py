"""From an edited model to its artefact, to a full checkpoint: the same scores all the way."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from run_cases import DOWN, write_suite
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import canonbench
from canonbench.editing.contract import EditRequest
from canonbench.editing.methods.in_context import InContextSettings, edit
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.artefacts.delta import as_scored
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.row import Row
from canonbench.runs.export import export
from canonbench.suite.example import Example
from tiny_models import save_tiny

CAUSAL = {"task_type": "CAUSAL_LM"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", chunks=4)
    for name, options in (("llama", {}), ("gpt2", {}), ("backpack", {}), ("tied", {"tie_word_embeddings": True})):
        save_tiny(folder / name, "llama" if name == "tied" else name, tokenizer="bos", **options)
    return folder


def scaled(model: Any, _tokenizer: Any) -> Any:
    last = list(model.parameters())[-1]
    last.data *= 1.05
    return model


def tuned(config: peft.PeftConfig) -> Callable[[Any, Any], Any]:
    def change(model: Any, _tokenizer: Any) -> Any:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # peft's doubts about tied weights
            torch.manual_seed(1)
            adapter = peft.get_peft_model(model, config)
        for parameter in adapter.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1
        return adapter.train()

    return change


def prefixed(model: Any, tokenizer: Any) -> Any:
    examples = [Example("The capital of France is", " Paris"), Example("The capital of Japan is", " Tokyo")]
    return edit(model, tokenizer, EditRequest("country", "nll", examples, [], 0, InContextSettings()))


def with_senses(model: Any, _tokenizer: Any) -> Any:
    edit = model.edit_senses(torch.arange(3, 200), torch.arange(3, 200) % 4)
    edit.deltas.data += torch.linspace(-1, 1, edit.deltas.numel()).view_as(edit.deltas)
    return model


def lora(*targets: str, **options: Any) -> peft.PeftConfig:
    return peft.LoraConfig(**CAUSAL, target_modules=list(targets), r=4, **options)


EDITS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "full": ("llama", scaled),
    "full, tied": ("tied", scaled),
    "lora": ("llama", tuned(lora("up_proj", "down_proj"))),
    "lora on Conv1D": ("gpt2", tuned(lora("c_fc", fan_in_fan_out=True))),
    "lora on tied embeddings": ("tied", tuned(lora("embed_tokens"))),
    "ia3": ("llama", tuned(peft.IA3Config(**CAUSAL, target_modules=["k_proj"], feedforward_modules=[]))),
    "prompt tuning": ("llama", tuned(peft.PromptTuningConfig(**CAUSAL, num_virtual_tokens=5))),
    "in-context": ("llama", prefixed),
    "senses": ("backpack", with_senses),
}
EXPORTED = [name for name in EDITS if name not in ("prompt tuning", "in-context")]


def keep(world: Path, kind: str, folder: Path, base: Path | None = None) -> tuple[Any, Any]:
    """Edit, keep the edited model in ``folder``, and return it with its tokenizer."""
    name, change = EDITS[kind]
    loaded = load_model(base or world / name, Loading())
    mark = fingerprint(loaded.model)
    model = change(loaded.model, loaded.tokenizer)
    save_artefact(model, folder, base=loaded.source, base_fingerprint=mark, record={"method": kind})
    return model, loaded.tokenizer


def numbers(row: Row) -> Any:
    return row.general, row.tasks, row.average


def evaluated(model: Any, world: Path, **options: Any) -> Row:
    return canonbench.evaluate(model, suite=world / "suite", **{"tasks": "country,gender"} | options)


@pytest.mark.parametrize("kind", EDITS)
def test_an_artefact_gets_the_scores_that_the_model_had_in_place(kind: str, world: Path, tmp_path: Path) -> None:
    model, tokenizer = keep(world, kind, tmp_path / "kept")
    with as_scored(model) as scored:
        in_place = evaluated(scored, world, base=world / EDITS[kind][0], tokenizer=tokenizer)
    opened = evaluated(tmp_path / "kept", world)  # the base is the one it names
    assert numbers(opened) == numbers(in_place)
    assert opened.fingerprints == in_place.fingerprints
    assert opened.base is not None
    assert opened.base.name == str(world / EDITS[kind][0])
    assert opened.model.source == ("edit" if EDITS[kind][1] in (scaled, prefixed, with_senses) else "peft")
    assert opened.general is not None
    assert opened.general.ratio != 1


@pytest.mark.parametrize("kind", EXPORTED)
def test_an_exported_checkpoint_is_plain_and_the_same_model(kind: str, world: Path, tmp_path: Path) -> None:
    keep(world, kind, tmp_path / "kept")
    assert export(tmp_path / "kept", tmp_path / "whole") == tmp_path / "whole"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert fingerprint(plain).key == fingerprint(load_model(tmp_path / "kept", Loading()).model).key
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert (
        tokenizer("The capital").input_ids
        == load_model(tmp_path / "kept", Loading()).tokenizer("The capital").input_ids
    )


def test_an_exported_checkpoint_gets_the_scores_of_its_artefact(world: Path, tmp_path: Path) -> None:
    keep(world, "lora", tmp_path / "kept")
    export(tmp_path / "kept", tmp_path / "whole")
    whole = evaluated(tmp_path / "whole", world, base=world / "llama", tasks="country")
    assert numbers(whole) == numbers(evaluated(tmp_path / "kept", world, tasks="country"))


def test_a_half_precision_delta_is_exported_in_its_own_dtype(world: Path, tmp_path: Path) -> None:
    loaded = load_model(world / "llama", Loading(dtype="bfloat16"))
    mark = fingerprint(loaded.model)
    scaled(loaded.model, None)
    save_artefact(loaded.model, tmp_path / "kept", base=loaded.source, base_fingerprint=mark, record={})
    said: list[str] = []
    export(tmp_path / "kept", tmp_path / "whole", say=said.append)
    assert not said
    assert load_file(tmp_path / "whole" / "model.safetensors")[DOWN].dtype == torch.bfloat16


def test_an_adapter_of_anyones_making_is_exported_onto_a_given_base(world: Path, tmp_path: Path) -> None:
    model = tuned(lora("up_proj"))(load_model(world / "llama", Loading()).model, None)
    model.save_pretrained(tmp_path / "adapter")
    shutil.copytree(world / "llama", tmp_path / "moved")
    export(tmp_path / "adapter", tmp_path / "whole", base=tmp_path / "moved")
    found = fingerprint(load_model(tmp_path / "whole", Loading()).model).weights
    assert found == fingerprint(load_model(tmp_path / "adapter", Loading()).model).weights


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("in-context", "is an in-context edit: it changes no weights, so there is no checkpoint to write"),
        ("prompt tuning", "a PROMPT_TUNING adapter cannot be merged into the weights"),
    ],
)
def test_an_edit_without_weights_of_its_own_is_refused(kind: str, says: str, world: Path, tmp_path: Path) -> None:
    keep(world, kind, tmp_path / "kept")
    with pytest.raises(CanonbenchError, match=says) as caught:
        export(tmp_path / "kept", tmp_path / "whole")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_whole_model_has_nothing_to_export(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a whole model already, no adapter or edit"):
        export(world / "llama", tmp_path / "whole")


def test_a_folder_in_use_is_left_alone_and_an_empty_one_is_taken(world: Path, tmp_path: Path) -> None:
    keep(world, "full", tmp_path / "kept")
    (tmp_path / "mine").mkdir()
    export(tmp_path / "kept", tmp_path / "mine")
    before = sorted(path.name for path in (tmp_path / "mine").iterdir())
    with pytest.raises(UsageError, match="mine: is there already; give a new or empty folder"):
        export(tmp_path / "kept", tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == before
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: is there already"):
        export(tmp_path / "kept", tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_one_line(world: Path, tmp_path: Path) -> None:
    keep(world, "full", tmp_path / "kept")
    (tmp_path / "file").touch()
    with pytest.raises(CanonbenchError, match=r"cannot write .*file/whole: Not a directory") as caught:
        export(tmp_path / "kept", tmp_path / "file" / "whole")
    assert "\n" not in str(caught.value)
