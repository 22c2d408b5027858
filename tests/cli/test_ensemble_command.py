"""``canonbench evaluate --model ensemble:...`` from the command line, on a slice of the embedded suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_cases import Canonbench

from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from mini_slice import write_mini_slice
from tiny_models import save_tiny

ROOMY = 1024


@pytest.fixture(scope="module")
def triple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large model, a small Backpack, and edited senses of it; never written to."""
    folder = tmp_path_factory.mktemp("triple")
    write_mini_slice(folder / "slice")
    save_tiny(folder / "large", "llama", max_position_embeddings=ROOMY)
    save_tiny(folder / "small", "backpack", seed=1, n_positions=ROOMY)
    loaded = load_model(folder / "small", Loading())
    mark = fingerprint(loaded.model)
    with torch.no_grad():
        loaded.model.edit_senses(torch.arange(60, 90), torch.zeros(30, dtype=torch.long)).deltas.fill_(0.1)
    save_artefact(loaded.model, folder / "edit", base=loaded.source, base_fingerprint=mark, record={})
    return folder


@pytest.fixture(autouse=True)
def _there(triple: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in triple.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)


def test_an_ensemble_is_evaluated_on_all_tasks(canonbench: Canonbench, triple: Path) -> None:
    options = ("--suite", "slice", "--json", "--quiet")
    outcome = canonbench("evaluate", "--model", "ensemble:large,edit,beta=0.5", *options)
    assert outcome.code == 0, outcome.err
    row = json.loads(outcome.out)
    name = f"ensemble:large,edit,base={triple / 'small'},beta=0.5"
    assert row["model"] == {"name": name, "source": "ensemble", "revision": None}
    assert row["base"] == {"name": "large", "source": "folder", "revision": None}
    assert len(row["tasks"]) == 6
    assert row["general"]["ratio"] != 1
    again = canonbench("evaluate", "--model", name, *options)
    assert json.loads(again.out) == row


def test_beta_is_chosen_on_val_and_said(canonbench: Canonbench) -> None:
    options = ("--suite", "slice", "--task", "country", "--split", "val")
    outcome = canonbench("evaluate", "--model", "ensemble:large,edit,beta=auto@1e-3", *options)
    said = [line for line in outcome.err.splitlines() if line.startswith("β by league on G_val: 1e-3: ")]
    if outcome.code:  # that depends on random weights
        assert "is in league 1e-3 on G_val: there the choice is large alone" in outcome.error
    else:
        assert f"beta={said[0].split('1e-3: ')[1].split(',')[0]} against large" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("evaluate", "--model", "ensemble:large"), 2, "is no ensemble of two models: it is written ensemble:LARGE"),
        (("evaluate", "--model", "ensemble:large,edit,beta=x"), 2, "beta must be a number from 0 on, auto"),
        (("evaluate", "--model", "ensemble:large,small"), 2, "small is a whole model and does not say what it was"),
        (("evaluate", "--model", "ensemble:large,edit,beta=auto"), 2, "run the same with --split val"),
        (("evaluate", "--model", "ensemble:./gone,edit"), 2, "no model at './gone'"),
        (("export", "ensemble:large,edit", "--to", "new"), 2, "is three models, scored together"),
        (("edit", "--model", "ensemble:large,edit", "--method", "full"), 2, "is scored, not edited"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    canonbench: Canonbench, arguments: tuple[str, ...], code: int, says: str
) -> None:
    data = () if arguments[0] == "export" else ("--suite", "slice")
    outcome = canonbench(*arguments, *data)
    assert (outcome.code, outcome.out) == (code, "")
    assert says in outcome.error
