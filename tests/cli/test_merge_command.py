"""``canonbench merge`` from the command line, and how the row of a merged model looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_cases import Canonbench
from row_cases import SIX, made_up

from canonbench.board.texts import row_facts
from canonbench.cli.tables import draw_row
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.row import Row


@pytest.fixture
def kept(world: Path) -> list[str]:
    """Artefacts of two tasks."""
    for task, name in (("country", "model.norm.weight"), ("gender", "lm_head.weight")):
        loaded = load_model("base", Loading())
        mark = fingerprint(loaded.model)
        loaded.model.state_dict()[name].mul_(1.01)
        record = {"method": "scaling", "hyperparameters": {}, "task": task, "split": "val", "seed": 0, "candidate": 1}
        save_artefact(loaded.model, world / task, base=loaded.source, base_fingerprint=mark, record=record)
    return ["country", "gender"]


def test_edits_are_merged_and_evaluated(canonbench: Canonbench, kept: list[str]) -> None:
    outcome = canonbench("merge", *kept, "--out", "joint", "--how", "ties", "--density", "1")
    assert (outcome.code, outcome.out, outcome.err) == (0, "joint\nties of 2 edits: country, gender\n", "")
    row = json.loads(canonbench("evaluate", "--model", "joint", "--suite", "suite", "--json", "--quiet").out)
    assert row["track"] == "joint"
    assert row["merged"] == {
        "how": "ties",
        "methods": ["scaling"],
        "league": None,
        "edits": {task: {"own_delta": None, "against_own": None} for task in kept},
        "unedited": [],
    }
    assert canonbench("merge", *kept, "--out", "quiet", "--quiet").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "Missing argument 'RUN...'"),
        (("country",), 2, "Missing option '--out'"),
        (("country", "--out", "base"), 2, "--out base: is there already; give a new folder"),
        (("gone", "--out", "new"), 2, "gone: no such folder; give edit runs, or artefacts that they kept"),
        (("country", "country", "--out", "new"), 1, "country has task 'country' as well; give every task once"),
        (("country", "--density", "0.5", "--out", "new"), 2, "--density: mean drops no changes; leave it out"),
        (("suite", "--out", "new"), 1, "suite holds neither a finished run (row.json) nor an artefact"),
        (("country", "--out", "suite/suite.yaml/new"), 1, "cannot write suite/suite.yaml/new"),
    ],
)
def test_what_cannot_be_merged_is_one_line(
    canonbench: Canonbench, kept: list[str], world: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    outcome = canonbench("merge", *arguments)
    assert outcome.code == code
    assert says in outcome.error
    assert not (world / "new").exists()


MERGED: dict[str, Any] = {
    "how": "mean",
    "methods": ["lora"],
    "league": "1e-3",
    "edits": {
        "country": {"own_delta": 20.0, "against_own": -2.84},
        "gender": {"own_delta": None, "against_own": None},
        "unasked": {"own_delta": 3.0, "against_own": None},
    },
    "unedited": ["verb"],
}


def test_the_table_and_the_page_say_what_each_task_lost() -> None:
    row = Row.model_validate({**made_up(SIX).model_dump(by_alias=True), "merged": MERGED})
    expected = """
merged, Δ success  own edit  merged  difference
country              +20.00  +17.16       -2.84
gender                    -   -3.25           -
unasked               +3.00       -           -
mean of 3 edits by lora of league 1e-3; unedited there: verb
"""
    assert expected in draw_row(row)
    facts = dict(row_facts(row))
    assert facts["merged from"] == "country, gender, unasked (lora) by mean, candidates of league 1e-3"
    assert facts["unedited tasks"] == "verb"
    assert facts["Δ success against the tasks' own edits"] == "country −2.84 of +20.00"
