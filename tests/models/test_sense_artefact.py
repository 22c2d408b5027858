"""Edited senses are kept by themselves, and open to the same model or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import change_json, change_weights, damaged, logits

from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load import LoadedModel, Loading, load_model
from tiny_models import save_tiny

SENSES = "senses.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("senses") / "base", "backpack")


@pytest.fixture
def loaded(base: Path) -> LoadedModel:
    return load_model(base, Loading())


@pytest.fixture(scope="module")
def mark(base: Path) -> Fingerprint:
    return fingerprint(load_model(base, Loading()).model)


@pytest.fixture
def kept(loaded: LoadedModel, mark: Fingerprint) -> Path:
    edited(loaded.model)
    return save(loaded, mark)


def edited(model: Any) -> Any:
    """Three senses, two of one token."""
    model.edit_senses(torch.tensor([5, 5, 9]), torch.tensor([0, 3, 1])).deltas.data += 0.5
    return model


def save(loaded: LoadedModel, mark: Fingerprint) -> Path:
    folder = Path(loaded.source.name).parent / "kept"
    save_artefact(loaded.model, folder, base=loaded.source, base_fingerprint=mark, record={"method": "senses"})
    return folder


def test_what_is_kept_is_the_vectors_alone_and_opens_to_the_same_logits(loaded: LoadedModel, kept: Path) -> None:
    assert sorted(path.name for path in kept.iterdir()) == ["canonbench_edit.json", SENSES]
    assert (kept / SENSES).stat().st_size < 3 * 4 * 32 + 500  # three vectors of 32 numbers
    content = json.loads((kept / "canonbench_edit.json").read_text())
    assert content["kind"] == "senses"
    opened = load_model(kept, Loading()).model
    assert torch.equal(logits(opened), logits(loaded.model))
    assert fingerprint(opened).weights == content["fingerprint"]["weights"]
    assert fingerprint(opened).config == content["fingerprint"]["config"]


def test_it_opens_in_another_dtype_with_a_note(kept: Path) -> None:
    said: list[str] = []
    opened = load_model(kept, Loading(dtype="bfloat16", say=said.append)).model
    assert opened.backpack.sense_edit.deltas.dtype == torch.bfloat16
    assert opened.backpack.sense_edit.deltas.unique().tolist() == [0.5]
    assert any("edited in float32 and is cast to bfloat16" in line for line in said)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / SENSES).unlink(), "holds no senses.safetensors; is the copy incomplete"),
        (lambda folder: (folder / SENSES).write_bytes(b"x" * 40), "the edit .*senses.safetensors"),
        (lambda folder: change_weights(folder, lambda each: each["deltas"].mul_(2), SENSES), "'deltas' is not what"),
        (lambda folder: change_weights(folder, lambda each: each.pop("sense_ids"), SENSES), "'sense_ids' is not what"),
        (lambda folder: change_json(folder / "canonbench_edit.json", kind="sense"), "is damaged: kind: "),
    ],
)
def test_a_damaged_artefact_is_refused_in_one_line(damage: Any, says: str, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError, match=says) as caught:
        load_model(damaged(kept, tmp_path, damage), Loading())
    assert "\n" not in str(caught.value)


def test_another_base_is_refused(kept: Path, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other", "backpack", seed=1)
    with pytest.raises(CanonbenchError, match=r"is not the model that .* is an edit of"):
        load_model(kept, Loading(), base=other)


def test_senses_with_other_weights_changed_too_are_not_kept(loaded: LoadedModel, mark: Fingerprint) -> None:
    edited(loaded.model).backpack.sense_weight_net.c_attn.weight.data += 0.1
    with pytest.raises(CanonbenchError, match=r"'backpack.sense_weight_net.c_attn.weight' is not the base's either"):
        save(loaded, mark)


def test_a_checkpoint_with_edited_senses_is_a_base_like_any_other(loaded: LoadedModel) -> None:
    edited(loaded.model)
    before = fingerprint(loaded.model)
    loaded.model.backpack.sense_edit.deltas.data += 0.5
    folder = save(loaded, before)
    assert json.loads((folder / "canonbench_edit.json").read_text())["kind"] == "delta"
