"""One model for all six tasks on the board: merged edits, and an ensemble with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from submission_cases import describe, empty_board

from canonbench.board.points import base_of, method_of
from canonbench.board.texts import row_facts
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.rows import read_rows
from canonbench.results.submission import read_submission
from canonbench.runs.evaluate import evaluate
from canonbench.runs.merge import merge_edits
from canonbench.submissions.submit import submit, withdraw
from canonbench.submissions.validate import validate
from mini_slice import write_mini_slice
from tiny_models import save_tiny

ROOMY = 1024


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs ``joint``, of a merged model, and ``ensemble``, of it and a larger one; never written to."""
    folder = tmp_path_factory.mktemp("joint")
    write_mini_slice(folder / "suite", rows=2, chunks=2)
    save_tiny(folder / "large", "llama", max_position_embeddings=ROOMY)
    save_tiny(folder / "small", "gpt2", seed=1, n_positions=ROOMY)
    for task, name in (("country", "transformer.ln_f.weight"), ("gender", "transformer.ln_f.bias")):
        loaded = load_model(folder / "small", Loading())
        mark = fingerprint(loaded.model)
        loaded.model.state_dict()[name].mul_(1.01)
        record = {"method": "scaling", "hyperparameters": {}, "task": task, "split": "test", "seed": 0, "candidate": 1}
        save_artefact(loaded.model, folder / task, base=loaded.source, base_fingerprint=mark, record=record)
    merge_edits([folder / "country", folder / "gender"], folder / "merged", say=lambda _line: None)
    ensemble = f"ensemble:{folder / 'large'},{folder / 'merged'},beta=0.5"
    for run, model in (("joint", str(folder / "merged")), ("ensemble", ensemble)):
        evaluate(model, suite=folder / "suite", run=folder / run)
    return folder


def board_of(root: Path, run: Path, name: str, **how: Any) -> Path:
    """A board with this run on it, described."""
    empty_board(root)
    submit(run, name, root=root, **how)
    describe(root, name)
    return root


def test_a_merged_model_stands_on_the_board_as_its_submission(runs: Path, tmp_path: Path) -> None:
    root = board_of(tmp_path / "board", runs / "joint", "mean")
    assert [each for each in validate(root) if each.level != "note"] == []
    [placed] = read_rows(root / "leaderboard/rows")
    row = placed.row
    assert (row.track, row.model.name, method_of(row), base_of(row)) == ("joint", "merged", "mean", "small")
    assert ("merged from", "country, gender (scaling) by mean") in row_facts(row)
    assert read_submission(root / "submissions/mean", drafts=True).models == ("small",)


def test_an_ensemble_stands_on_the_board_with_its_parts_and_beta(runs: Path, tmp_path: Path) -> None:
    root = board_of(tmp_path / "board", runs / "ensemble", "sense-ensemble", model_name="someone/large")
    assert [each for each in validate(root) if each.level != "note"] == []
    [placed] = read_rows(root / "leaderboard/rows")
    row = placed.row
    assert (row.track, method_of(row), base_of(row)) == ("joint", "sense-ensemble", "someone/large")
    assert row.model.name == "ensemble:someone/large,merged,base=small,beta=0.5"
    assert ("edited checkpoint", row.model.name) in row_facts(row)
    description = read_submission(root / "submissions/sense-ensemble", drafts=True)
    assert (description.method, description.models) == (None, ("someone/large",))


def test_an_ensemble_is_taken_off_the_board_again(runs: Path, tmp_path: Path) -> None:
    root = empty_board(tmp_path / "board")
    submit(runs / "ensemble", "sense-ensemble", root=root)
    withdraw(runs / "ensemble", "sense-ensemble", root=root)
    assert not [path for path in root.rglob("*") if path.is_file()]
