"""``canonbench edit``: where settings come from, what is refused, and what a run leaves and prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_cases import Canonbench

EDIT = ("edit", "--model", "base", "--suite", "suite", "--task", "gender", "--limit", "2", "--method")
QUICK = (*EDIT, "full", "--set", "lr=1e-4", "--set", "epochs=1", "--set", "regularizer=none")
"""One candidate, in about a second."""


def settings(outcome_run: Path) -> dict[str, object]:
    return yaml.safe_load((outcome_run / "run.yaml").read_text())["identity"]["hyperparameters"]


def test_a_run_prints_a_table_per_league_and_says_where_things_lie(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*QUICK, "--run", "run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("full on base\nsuite small 1, val split, first 2 rows of every file only\n")
    for league in ("1e-3", "1e-4", "1e-5"):
        assert f"\nleague {league}\ntask " in outcome.out
    assert "\nrow        run/row.json\n" in outcome.out
    assert "\npicture    run/trajectory.svg\n" in outcome.out
    assert "run folder: run" in outcome.err.splitlines()
    assert "gender seed 0 candidate 1: ratio " in outcome.err
    assert (world / "run/trajectory.svg").read_text().startswith("<?xml")
    assert json.loads((world / "run/candidates.jsonl").read_text())["number"] == 1


def test_without_a_run_folder_named_one_is_made_and_named(canonbench: Canonbench, world: Path) -> None:
    out = canonbench(*QUICK).out
    [folder] = (world / "canonbench-runs").iterdir()
    assert f"row        canonbench-runs/{folder.name}/row.json" in out


def test_json_is_the_row_and_quiet_is_silent(canonbench: Canonbench, world: Path) -> None:
    quiet = canonbench(*QUICK, "--run", "run", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert canonbench(*QUICK, "--run", "run", "--json", "--quiet").out == (world / "run/row.json").read_text()


def test_seeds_leagues_keep_and_output_reach_the_run(canonbench: Canonbench, world: Path) -> None:
    options = ("--seeds", "2", "--leagues", "0.5,1e-9", "--keep", "all", "--output", "row.json", "--run", "run")
    assert canonbench(*QUICK, *options).code == 0
    row = json.loads((world / "row.json").read_text())
    assert list(row["leagues"]) == ["0.5", "1e-9"]
    assert [seed["seed"] for seed in row["leagues"]["0.5"]["tasks"]["gender"]["seeds"]] == [0, 1]
    assert len(list((world / "run/artefacts").glob("gender/seed-*/candidate-1"))) == 2


def test_a_test_run_follows_the_val_run_it_is_given(canonbench: Canonbench, world: Path) -> None:
    assert canonbench(*QUICK, "--leagues", "0.5", "--run", "val").code == 0
    follow = (*EDIT, "full", "--split", "test", "--chosen", "val", "--leagues", "0.5", "--seeds", "1", "--run", "test")
    assert canonbench(*follow).code == 0
    assert settings(world / "test") == settings(world / "val")
    outcome = canonbench(*QUICK, "--split", "test", "--chosen", "val")
    assert (outcome.code, "leave --set out" in outcome.error) == (2, True)


def test_settings_come_from_the_command_line_before_the_config_file(canonbench: Canonbench, world: Path) -> None:
    (world / "own.yaml").write_text(
        "method: peft\nmodel: base\nsuite: suite\ntask: [gender]\nlimit: 2\nleagues: [0.5]\n"
        "lr: 3e-4\nconfig: LORA\nepochs: 2\noptions: {r: 4, lora_alpha: 2e0, target_modules: [down_proj]}\n"
    )
    given = ("--set", "options.r=2", "--set", "epochs=1", "--run", "run")
    assert canonbench("edit", "--config", "own.yaml", *given).code == 0
    found = settings(world / "run")
    assert (found["lr"], found["config"], found["epochs"]) == (3e-4, "LORA", 1)
    assert found["options"] == {"r": 2, "lora_alpha": 2.0, "target_modules": ["down_proj"]}


def test_a_setting_that_is_called_like_an_option_stands_under_set(canonbench: Canonbench, world: Path) -> None:
    (world / "method.py").write_text(
        "def edit(model, tokenizer, request):\n    raise ValueError(request.hyperparameters)\n"
    )
    (world / "own.yaml").write_text("limit: 3\nset: {seed: 4, deep: {lr: 1e-3}}\nother: 1e-2\n")
    outcome = canonbench(*EDIT, "method.py", "--config", "own.yaml", "--set", "deep.rank=2")
    assert outcome.code == 1
    assert "{'seed': 4, 'deep': {'lr': 0.001, 'rank': 2}, 'other': 0.01}" in outcome.error


def test_settings_come_from_the_environment_too(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANONBENCH_SET", "lr=1e-4 epochs=1 regularizer=none")
    monkeypatch.setenv("CANONBENCH_METHOD", "full")
    assert canonbench(*EDIT[:-1], "--run", "run").code == 0
    assert "already complete" in canonbench(*QUICK, "--run", "run").err


def test_what_run_yaml_keeps_as_passed_repeats_the_run(canonbench: Canonbench, world: Path) -> None:
    options = ("--set", "regularizer_weight=2e-1", "--leagues", "1e-3,1e-9", "--run", "run")
    assert canonbench(*QUICK, *options).code == 0
    passed = yaml.safe_load((world / "run/run.yaml").read_text())["passed"]
    assert passed["set"] == {"lr": "1e-4", "epochs": 1, "regularizer": "none", "regularizer_weight": "2e-1"}
    (world / "again.yaml").write_text(yaml.safe_dump(passed))
    assert "already complete" in canonbench("edit", "--config", "again.yaml").err


WRONG = {
    "method": ((*EDIT, "lroa"), "unknown method 'lroa'", "Did you mean 'lora'?"),
    "setting": ((*EDIT, "lora", "--set", "rnak=3"), "unknown setting 'rnak'", "Did you mean 'rank'?"),
    "bound": ((*EDIT, "lora", "--set", "lr=-1e-3"), "setting 'lr' is '-1e-3'", "should be greater than 0"),
    "choice": ((*EDIT, "lora", "--set", "regularizer=kll"), "setting 'regularizer' is 'kll'", "'kl', 'l2', 'ewc'"),
    "no assignment": ((*EDIT, "lora", "--set", "lr"), "--set lr", "must read name=value"),
    "league": ((*EDIT, "lora", "--leagues", "1e-3, x"), "'--leagues'", "'x' is not a positive number, such as 1e-3"),
    "negative league": ((*EDIT, "lora", "--leagues", "-1e-3"), "'--leagues'", "'-1e-3' is not a positive number"),
    "keep": ((*EDIT, "lora", "--keep", "bst"), "'bst'", "best, all or none"),
    "seeds": ((*EDIT, "lora", "--seeds", "0"), "'--seeds'", "0 is not in the range 1<=x<="),
    "option": ((*EDIT, "lora", "--modle", "x"), "'--modle'", "'--model'"),
    "no method": (EDIT[:-1], "'--method'", "see 'canonbench edit --help'"),
    "chosen on val": ((*EDIT, "lora", "--chosen", "run"), "--chosen names a val run", "add --split test"),
}


@pytest.mark.parametrize(("arguments", "names", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_before_anything_runs(
    canonbench: Canonbench, world: Path, arguments: tuple[str, ...], names: str, says: str
) -> None:
    outcome = canonbench(*arguments)
    assert outcome.code == 2
    assert names in outcome.error
    assert says in outcome.error
    assert not (world / "canonbench-runs").exists()


def test_a_config_whose_set_is_no_mapping_is_refused(canonbench: Canonbench, world: Path) -> None:
    (world / "own.yaml").write_text("set: lr=3\n")
    outcome = canonbench(*QUICK, "--config", "own.yaml")
    assert (outcome.code, outcome.error) == (1, "own.yaml: 'set' must hold 'name: value' lines")
    (world / "own.yaml").write_text("task: {gender: 1}\n")
    assert "'task' must be a single value or a list" in canonbench(*QUICK, "--config", "own.yaml").error


@pytest.mark.parametrize("content", ["[" * 5000, "{}", '{"candidates": [{}], "choice": {}}', "\0"])
def test_a_damaged_trial_is_named_and_made_again_once_it_is_deleted(
    canonbench: Canonbench, world: Path, content: str
) -> None:
    command = (*EDIT, "full", "--keep", "none", "--run", "run")
    assert canonbench(*command).code == 0
    (world / "run/row.json").unlink()
    (record,) = (world / "run/trials").glob("*.json")
    record.write_text(content)
    outcome = canonbench(*command)
    assert (outcome.code, f"run/trials/{record.name}" in outcome.error) == (1, True)
    record.unlink()
    assert canonbench(*command).code == 0
