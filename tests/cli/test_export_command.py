"""``canonbench export`` and ``canonbench evaluate --model ARTEFACT`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import MODEL, Canonbench
from run_cases import DOWN
from safetensors.torch import load_file

from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model


@pytest.fixture
def kept(world: Path) -> Path:
    """An artefact of the tiny checkpoint: what ``world/edited`` is, as an edit."""
    loaded = load_model("base", Loading())
    mark = fingerprint(loaded.model)
    loaded.model.state_dict()[DOWN].mul_(1.01)
    save_artefact(loaded.model, world / "kept", base=loaded.source, base_fingerprint=mark, record={})
    return world / "kept"


def test_an_artefact_is_exported_and_said_where(canonbench: Canonbench, kept: Path, world: Path) -> None:
    outcome = canonbench("export", "kept", "--to", "new/whole")
    assert (outcome.code, outcome.out, outcome.err) == (0, "new/whole\n", "")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in (world / "new/whole").iterdir()}
    tensors, edited = load_file(world / "new/whole/model.safetensors"), load_file(world / "edited/model.safetensors")
    assert all((tensors[name] == edited[name]).all() for name in edited)
    assert canonbench("export", "kept", "--to", "quiet", "--quiet").out == ""


def test_an_artefact_is_compared_with_its_base_by_itself(canonbench: Canonbench, kept: Path, world: Path) -> None:
    options = ("--suite", "suite", "--task", "gender", "--json", "--quiet")
    opened = json.loads(canonbench("evaluate", "--model", "kept", *options).out)
    direct = json.loads(canonbench("evaluate", "--model", "edited", "--base", "base", *options).out)
    assert (opened["general"], opened["tasks"]) == (direct["general"], direct["tasks"])
    assert opened["model"] == {"name": "kept", "source": "edit", "revision": None}
    assert opened["fingerprints"] == direct["fingerprints"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("kept",), 2, "Missing option '--to'"),
        (("kept", "--to", "base"), 2, "--to base: is there already; give a new or empty folder"),
        (("base", "--to", "new"), 2, "base is a whole model already"),
        (("gone", "--to", "new"), 1, "gone"),
        (("kept", "--to", "new", "--base", "edited"), 1, "edited is not the model that kept is an edit of"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    canonbench: Canonbench, kept: Path, world: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    outcome = canonbench("export", *arguments)
    assert outcome.code == code
    assert says in outcome.error
    assert not (world / "new").exists()


def test_a_damaged_artefact_is_named(canonbench: Canonbench, kept: Path) -> None:
    (kept / "delta.safetensors").unlink()
    outcome = canonbench(*MODEL, "kept")
    assert outcome.code == 1
    assert outcome.error == "kept holds no delta.safetensors; is the copy incomplete?"
