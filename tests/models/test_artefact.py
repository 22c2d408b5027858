"""What is kept of an edited model opens to the same model, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import change_json, change_weights, damaged, logits, lora
from safetensors.torch import load_file
from torch import nn

from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.artefact import open_artefact, save_artefact
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load import LoadedModel, Loading, base_name, load_model
from tiny_models import save_tiny, tiny_model

EDIT, DELTA = "canonbench_edit.json", "delta.safetensors"
DOWN = "model.layers.1.mlp.down_proj.weight"
RECORD = {"method": "full", "hyperparameters": {"lr": 1e-4}, "task": "country", "seed": 3, "candidate": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("edited") / "base", "llama")


@pytest.fixture(scope="module")
def mark(base: Path) -> Fingerprint:
    return fingerprint(load_model(base, Loading()).model)


@pytest.fixture
def loaded(base: Path) -> LoadedModel:
    return load_model(base, Loading())


@pytest.fixture(scope="module")
def kept(base: Path, mark: Fingerprint) -> Path:
    """An artefact of one scaled tensor; never written to."""
    edited = load_model(base, Loading())
    scale(edited.model, DOWN)
    folder = base.parent / "kept"
    save_artefact(edited.model, folder, base=edited.source, base_fingerprint=mark, record=RECORD)
    return folder


@torch.no_grad()
def scale(model: Any, name: str, by: float = 1.01) -> None:
    model.state_dict()[name].mul_(by)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(CanonbenchError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of(folder: Path, entry: str) -> dict[str, Any]:
    """An entry of the edit file."""
    content: dict[str, Any] = json.loads((folder / EDIT).read_text())[entry]
    return content


def save(loaded: LoadedModel, folder: Path, mark: Fingerprint, model: Any = None) -> None:
    save_artefact(model or loaded.model, folder, base=loaded.source, base_fingerprint=mark, record=RECORD)


def test_a_delta_holds_what_changed_and_nothing_else(kept: Path, base: Path) -> None:
    assert sorted(path.name for path in kept.iterdir()) == [EDIT, DELTA]
    (name,) = tensors = load_file(kept / DELTA)
    assert name == DOWN
    assert torch.equal(tensors[DOWN], tiny_model("llama").state_dict()[DOWN] * 1.01)
    content = json.loads((kept / EDIT).read_text())
    assert content["record"] == RECORD
    assert content["base"]["name"] == str(base)
    assert content["dtype"] == "float32"
    assert list(content["tensors"]) == [DOWN]


def test_an_opened_artefact_is_the_edited_model_bit_for_bit(kept: Path, loaded: LoadedModel) -> None:
    scale(loaded.model, DOWN)
    opened = load_model(kept, Loading())
    assert fingerprint(opened.model) == fingerprint(loaded.model)
    assert torch.equal(logits(opened.model), logits(loaded.model))
    assert opened.source.kind == "edit"
    assert opened.tokenizer("The").input_ids == loaded.tokenizer("The").input_ids
    content = json.loads((kept / EDIT).read_text())
    assert content["fingerprint"]["weights"] == fingerprint(opened.model).weights


NAMES = sorted(tiny_model("llama").state_dict())


@settings(max_examples=10, deadline=None)
@given(changed=st.sets(st.sampled_from(NAMES), min_size=1))
def test_any_set_of_changed_weights_comes_back(
    changed: set[str], base: Path, mark: Fingerprint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edited = load_model(base, Loading())
    for name in changed:
        scale(edited.model, name)
    folder = tmp_path_factory.mktemp("any") / "kept"
    save(edited, folder, mark)
    assert set(load_file(folder / DELTA)) == changed
    opened = open_artefact(folder, load_model(base, Loading()))
    assert fingerprint(opened.model) == fingerprint(edited.model)


@pytest.mark.parametrize(("architecture", "options"), [("llama", {"tie_word_embeddings": True}), ("gpt2", {})])
def test_tied_weights_are_kept_once_and_stay_tied(architecture: str, options: dict[str, Any], tmp_path: Path) -> None:
    edited = load_model(save_tiny(tmp_path / "base", architecture, **options), Loading())
    mark = fingerprint(edited.model)
    scale(edited.model, "lm_head.weight")
    save(edited, tmp_path / "kept", mark)
    assert list(load_file(tmp_path / "kept" / DELTA)) == ["lm_head.weight"]
    opened = load_model(tmp_path / "kept", Loading()).model
    assert opened.get_input_embeddings().weight is opened.lm_head.weight
    assert fingerprint(opened) == fingerprint(edited.model)
    embeddings = next(name for name in of(tmp_path / "kept", "tensors") if name != "lm_head.weight")
    change_json(tmp_path / "kept" / EDIT, tensors=of(tmp_path / "kept", "tensors") | {embeddings: "x"})
    says = f"{embeddings!r} is not tied to 'lm_head.weight', as it was when edited"
    assert says in refusal(lambda: load_model(tmp_path / "kept", Loading()))


def test_a_transposed_weight_is_kept_as_it_is(loaded: LoadedModel, mark: Fingerprint, tmp_path: Path) -> None:
    layer = loaded.model.model.layers[0].self_attn.q_proj
    layer.weight.data = layer.weight.data.t().contiguous().mul(1.01).t()
    save(loaded, tmp_path / "kept", mark)
    assert fingerprint(load_model(tmp_path / "kept", Loading()).model) == fingerprint(loaded.model)


def wider(model: Any) -> None:
    model.model.layers[0].mlp.gate_proj = nn.Linear(32, 65, bias=False)


def untied(model: Any) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() * 1.01)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing": (lambda _model: None, "the unedited model: every weight is the base's"),
    "another shape": (
        wider,
        "a different architecture: 'model.layers.0.mlp.gate_proj.weight' is torch.float32 (65,",
    ),
    "a new weight": (
        lambda m: m.register_buffer("more", torch.ones(2)),
        "a different architecture: only the edited model has the weight 'more'",
    ),
    "a weight gone": (lambda m: m.model.layers.pop(1), "a different architecture: only the base has the weight"),
    "another dtype": (lambda m: m.bfloat16(), "a different architecture: 'lm_head.weight' is torch.bfloat16"),
    "another setting": (lambda m: m.config.update({"rms_norm_eps": 0.1}), "the configuration is not the base's"),
    "NaN": (lambda m: scale(m, DOWN, float("nan")), f"weight {DOWN!r} holds NaN"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_model_that_is_no_edit_of_its_base_is_not_kept(
    name: str, loaded: LoadedModel, mark: Fingerprint, tmp_path: Path
) -> None:
    change, says = CHANGES[name]
    change(loaded.model)
    assert says in refusal(lambda: save(loaded, tmp_path / "kept", mark))
    assert not list(tmp_path.iterdir())


def test_weights_that_came_untied_are_a_different_architecture(tmp_path: Path) -> None:
    edited = load_model(save_tiny(tmp_path / "base", "llama", tie_word_embeddings=True), Loading())
    mark = fingerprint(edited.model)
    untied(edited.model)
    assert "are tied in the base, and have come apart" in refusal(lambda: save(edited, tmp_path / "kept", mark))
    assert not (tmp_path / "kept").exists()


def flip(folder: Path) -> None:
    """One bit of the last weight."""
    content = bytearray((folder / DELTA).read_bytes())
    content[-4] ^= 1
    (folder / DELTA).write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a flipped bit": (flip, f"{DOWN!r} is not what was written there; copy the artefact again"),
    "cut short": (lambda f: (f / DELTA).write_bytes((f / DELTA).read_bytes()[:-100]), "corrupt or truncated"),
    "no weights": (lambda f: (f / DELTA).unlink(), f"holds no {DELTA}; is the copy incomplete?"),
    "a weight too few": (
        lambda f: change_json(f / EDIT, tensors=of(f, "tensors") | {"lm_head.weight": "x"}),
        "lacks 1 of the edited weights, 'lm_head.weight' first",
    ),
    "a weight too many": (
        lambda f: change_weights(f, lambda t: t.update({"lm_head.weight": torch.ones(384, 32)}), DELTA),
        "'lm_head.weight' is not what was written there",
    ),
    "broken JSON": (lambda f: (f / EDIT).write_text('{"format": 1'), f"{EDIT}:1:13: not valid JSON"),
    "a format of the future": (lambda f: change_json(f / EDIT, format=2), "has format 2, this version of canonbench"),
    "a missing entry": (lambda f: change_json(f / EDIT, dtype=None), f"{EDIT} is damaged: dtype: missing"),
    "an entry too many": (lambda f: change_json(f / EDIT, quux=1), f"{EDIT} is damaged: quux: Extra inputs"),
    "another base": (
        lambda f: change_json(f / EDIT, base=of(f, "base") | {"name": "/gone"}),
        "no model at '/gone'",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(name: str, kept: Path, tmp_path: Path) -> None:
    damage, says = DAMAGE[name]
    folder = damaged(kept, tmp_path, damage)
    assert says in refusal(lambda: load_model(folder, Loading()))


def test_another_model_than_the_edited_one_is_refused(kept: Path, loaded: LoadedModel, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", "llama", seed=5)
    says = f"{other} is not the model that {kept} is an edit of: the fingerprint of its weights differs; give that"
    assert says in refusal(lambda: load_model(kept, Loading(), base=other))
    slower = save_tiny(tmp_path / "slower", "llama", rope_theta=5000.0)
    assert "fingerprint of its configuration differs" in refusal(lambda: load_model(kept, Loading(), base=slower))
    scale(loaded.model, "lm_head.weight")
    assert "is not the model that" in refusal(lambda: open_artefact(kept, loaded))


def test_a_moved_base_can_be_given(kept: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "moved")
    opened = load_model(kept, Loading(), base=tmp_path / "moved")
    assert fingerprint(opened.model) == fingerprint(load_model(kept, Loading()).model)


def test_a_base_named_by_a_relative_path_is_found_from_the_artefact_too(
    kept: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kept.parent / "relative"
    shutil.copytree(kept, folder)
    change_json(folder / EDIT, base=of(folder, "base") | {"name": "../base"})
    monkeypatch.chdir(tmp_path)
    assert Path(base_name(folder) or "").resolve() == base.resolve()
    load_model(folder, Loading())


def test_the_base_is_kept_by_a_name_that_holds_from_anywhere(
    base: Path, mark: Fingerprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    for name, change in (("delta", lambda m: scale(m, DOWN)), ("peft", None), ("context", None)):
        edited = load_model("base", Loading())
        model = edited.model
        if change:
            change(model)
        else:
            model = tuned(model) if name == "peft" else InContext(model, [3, 4])
        save(edited, tmp_path / name, mark, model)
        assert base_name(tmp_path / name) == str(base)


def test_the_commit_of_a_hub_model_is_kept(loaded: LoadedModel, mark: Fingerprint, tmp_path: Path) -> None:
    loaded.source = type(loaded.source)("hub", "someone/model", revision="abc")
    scale(loaded.model, DOWN)
    save(loaded, tmp_path / "delta", mark)
    assert base_name(tmp_path / "delta") == "someone/model@abc"
    scale(loaded.model, DOWN, 1 / 1.01)
    save(loaded, tmp_path / "peft", fingerprint(loaded.model), tuned(loaded.model))
    assert base_name(tmp_path / "peft") == "someone/model@abc"


def test_an_edit_of_an_edit_is_not_opened(kept: Path) -> None:
    assert "is itself an adapter or edit" in refusal(lambda: load_model(kept, Loading(), base=kept))


def test_another_dtype_is_cast_and_said_once(kept: Path, loaded: LoadedModel) -> None:
    said: list[str] = []
    how = Loading(dtype="bfloat16", say=said.append)
    for _ in range(2):
        opened = load_model(kept, how).model
    assert said == [
        f"{kept} was edited in float32 and is cast to bfloat16, so its scores will not be those of the edit run; "
        "pass --dtype float32 for those"
    ]
    assert torch.equal(opened.state_dict()[DOWN], (loaded.model.state_dict()[DOWN] * 1.01).bfloat16())
    assert fingerprint(opened).tensors.keys() == fingerprint(loaded.model).tensors.keys()
    other = kept.parent / "base-of-another-seed"
    save_tiny(other, "llama", seed=5)
    assert "is not the model that" in refusal(lambda: load_model(kept, how, base=other))


def tuned(model: Any, config: peft.PeftConfig | None = None, name: str = "default") -> peft.PeftModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapter = peft.get_peft_model(model, config or lora(), adapter_name=name)
        for parameter in adapter.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return adapter


def test_an_adapter_under_any_name_is_kept_as_plain_peft(
    loaded: LoadedModel, mark: Fingerprint, tmp_path: Path
) -> None:
    model = tuned(loaded.model, name="country")
    save(loaded, tmp_path / "kept", mark, model)
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", EDIT]
    opened = load_model(tmp_path / "kept", Loading())
    assert opened.source.kind == "peft"
    unedited = logits(load_model(loaded.source.name, Loading()).model)
    assert torch.allclose(logits(opened.model), logits(model.eval()), atol=1e-5)
    assert (logits(opened.model) - unedited).abs().max() > 1e-2


def test_of_an_adapter_the_very_base_is_wanted_too(loaded: LoadedModel, mark: Fingerprint, tmp_path: Path) -> None:
    save(loaded, tmp_path / "kept", mark, tuned(loaded.model))
    other = save_tiny(tmp_path / "other", "llama", seed=5)
    assert "is not the model that" in refusal(lambda: load_model(tmp_path / "kept", Loading(), base=other))


def test_an_adapter_that_changes_nothing_is_the_unedited_model(
    loaded: LoadedModel, mark: Fingerprint, tmp_path: Path
) -> None:
    model = peft.get_peft_model(loaded.model, lora())
    assert refusal(lambda: save(loaded, tmp_path / "kept", mark, model)).startswith("the unedited model")


@pytest.mark.parametrize("name", [DOWN, "model.layers.0.self_attn.q_proj.base_layer.weight"])
def test_weights_changed_beside_an_adapter_are_not_lost_in_silence(
    name: str, loaded: LoadedModel, mark: Fingerprint, tmp_path: Path
) -> None:
    model = tuned(loaded.model)
    scale(model.get_base_model(), name)
    assert "1 weights of the model below it are not the base's" in refusal(
        lambda: save(loaded, tmp_path / "kept", mark, model)
    )
    assert not (tmp_path / "kept").exists()


def test_two_active_adapters_are_refused(loaded: LoadedModel, mark: Fingerprint, tmp_path: Path) -> None:
    model = tuned(loaded.model)
    model.add_adapter("second", lora())
    model.base_model.set_adapter(["default", "second"])
    assert refusal(lambda: save(loaded, tmp_path / "kept", mark, model)).startswith("2 adapters are active")


def test_an_older_artefact_is_replaced_and_anything_else_is_not(
    loaded: LoadedModel, mark: Fingerprint, kept: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    (tmp_path / ".kept.part").mkdir()
    (tmp_path / ".kept.part" / "left by a killed run").touch()
    scale(loaded.model, DOWN, 1.02)
    save(loaded, folder, mark)
    assert fingerprint(load_model(folder, Loading()).model) == fingerprint(loaded.model)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert "is there already and is no artefact" in refusal(lambda: save(loaded, tmp_path / "mine", mark))
    assert (tmp_path / "mine" / "thesis.txt").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
base, target = map(Path, sys.argv[1:])
loaded = load_model(base, Loading(device="cpu"))
mark = fingerprint(loaded.model)
loaded.model.lm_head.weight.data *= 1.01
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    save_artefact(loaded.model, target, base=loaded.source, base_fingerprint=mark, record={})
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_is_one_line_and_leaves_what_was_there(base: Path, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    command = [sys.executable, "-c", FULL_DISK, str(base), str(tmp_path / "kept")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"CanonbenchError cannot write {tmp_path / 'kept'}: ")
    assert run.stdout.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    load_model(tmp_path / "kept", Loading())
