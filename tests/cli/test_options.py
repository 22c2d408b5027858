"""Where options come from, which source wins, and what run.yaml keeps of them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import pytest
import yaml
from cli_cases import EVALUATE, QUICK, Canonbench

from canonbench.cli.main import cli


def every_option() -> list[tuple[str, click.Option]]:
    groups = {name: command for name, command in cli.commands.items() if isinstance(command, click.Group)}
    commands = {
        **cli.commands,
        **{f"{name} {verb}": sub for name, group in groups.items() for verb, sub in group.commands.items()},
    }
    return [
        (f"{name} {max(parameter.opts, key=len)}", parameter)
        for name, command in commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]


@pytest.mark.parametrize(("name", "option"), every_option(), ids=[name for name, _ in every_option()])
def test_every_option_has_an_environment_variable_of_its_name(name: str, option: click.Option) -> None:
    by_group = {"tasks show --suite", "tasks show -n"}  # the group reads CANONBENCH_SUITE; -n has no long name
    flag = name.rsplit(maxsplit=1)[-1].lstrip("-").replace("-", "_").upper()
    assert option.envvar == (None if name in by_group else f"CANONBENCH_{flag}")
    assert option.help


def test_the_command_line_comes_before_the_environment_before_the_config_file(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(*arguments: str) -> int | None:
        asked = (*EVALUATE, "--task", "gender", "--general", "none", "--json", *arguments)
        return json.loads(canonbench(*asked).out)["limit"]

    (world / "own.yaml").write_text("limit: 1\n")
    assert limit() is None
    assert limit("--config", "own.yaml") == 1
    monkeypatch.setenv("CANONBENCH_LIMIT", "2")
    assert limit("--config", "own.yaml") == 2
    assert limit("--config", "own.yaml", "--limit", "3") == 3
    assert limit("--limit", "4") == 4
    monkeypatch.setenv("CANONBENCH_LIMIT", "")  # as if it were not set
    monkeypatch.setenv("CANONBENCH_CONFIG", "own.yaml")
    assert limit() == 1


def test_a_whole_run_from_a_config_file_is_the_one_from_the_command_line(canonbench: Canonbench, world: Path) -> None:
    arguments = "--model edited --base base --suite suite --task gender,mine --limit 2 --batch-tokens 64 --run run"
    typed = canonbench("evaluate", *shlex.split(arguments), "--json")
    (world / "own.yaml").write_text(
        "model: edited\nbase: base\nsuite: suite\ntask: [gender, mine]\n"
        "limit: 2\nbatch_tokens: 64\nrun: run\njson: true\n"
    )
    read = canonbench("evaluate", "--config", "own.yaml")
    assert "already complete" in read.err
    assert read.out == typed.out


def test_a_whole_run_from_the_environment(canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"MODEL": "base", "SUITE": "suite", "TASK": "gender", "GENERAL": "none", "LIMIT": "2", "JSON": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"CANONBENCH_{name}", value)
    row = json.loads(canonbench("evaluate").out)
    assert (list(row["tasks"]), row["limit"], row["general"]) == (["gender"], 2, None)


def test_run_yaml_keeps_the_options_as_passed_and_as_resolved(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANONBENCH_BATCH_TOKENS", "32")
    (world / "own.yaml").write_text("task: gender\n")
    arguments = ("--model", "edited", "--base", "base", "--suite", "suite", "--run", "run", "--config", "own.yaml")
    assert canonbench("evaluate", *arguments, "--allow-pickle").code == 0
    record = yaml.safe_load((world / "run/run.yaml").read_text())
    assert record["passed"] == {
        "model": "edited",
        "base": "base",
        "suite": "suite",
        "task": "gender",
        "run": "run",
        "batch-tokens": 32,
        "allow-pickle": True,
    }
    resolved = record["identity"]
    row = json.loads((world / "run/row.json").read_text())
    assert (resolved["suite"], resolved["tasks"], resolved["split"]) == ("small", ["gender"], "test")
    assert (resolved["general"], resolved["protocol"]) == ("chunks", "canonbench-1")
    assert (resolved["dtype"], resolved["device"], resolved["batch_tokens"]) == ("float32", "cpu", 32)
    assert resolved["fingerprint"] == row["fingerprints"]["model"]
    assert resolved["base_fingerprint"] == row["fingerprints"]["base"]
    assert resolved["data_hash"] == row["suite"]["data_hash"]


def test_what_run_yaml_keeps_as_passed_is_itself_a_config_file(canonbench: Canonbench, world: Path) -> None:
    assert canonbench(*QUICK, "--run", "run").code == 0
    passed = yaml.safe_load((world / "run/run.yaml").read_text())["passed"]
    (world / "again.yaml").write_text(yaml.safe_dump(passed))
    assert "already complete" in canonbench("evaluate", "--config", "again.yaml").err


CONFIGS = {
    "unknown key": ("limti: 1\n", 2, "unknown option 'limti' in own.yaml", "Did you mean 'limit'?"),
    "config in a config": ("config: x\n", 2, "unknown option 'config' in own.yaml", "must be one of"),
    "no YAML": ("limit: [\n", 1, "own.yaml:2: not valid YAML", ""),
    "no mapping": ("- limit\n", 1, "own.yaml: must hold 'key: value' lines", "task: country"),
    "not UTF-8": ("\xff\n", 1, "own.yaml: not UTF-8 text", ""),
    "a mapping for a value": ("task: {gender: 1}\n", 1, "own.yaml: 'task' must be a single value or a list", ""),
    "a bad value": ("limit: -3\n", 2, "'--limit': -3 is not in the range 1<=x<=", "(given by the --config file)"),
    "a key twice": ("limit: 1\nlimit: 2\n", 1, "own.yaml:2: not valid YAML: the key 'limit' is given twice", ""),
    "no value": ("limit:\n", 1, "own.yaml: 'limit' has no value", "leave the line out"),
    "half a row": ("limit: 1.5\n", 2, "'1.5' is not a valid whole number", "(given by the --config file)"),
    "infinity": ("limit: .inf\n", 2, "'inf' is not a valid whole number", "(given by the --config file)"),
    "a day": ("limit: 2025-01-31\n", 2, "'2025-01-31' is not a valid whole number", "(given by the --config file)"),
    "no file": ("run: []\n", 1, "own.yaml: 'run' has no value", ""),
    "tokens in words": ("batch-tokens: few\n", 2, "'few' is neither 'auto' nor", "(given by the --config file)"),
}


@pytest.mark.parametrize(("content", "code", "names", "says"), CONFIGS.values(), ids=CONFIGS)
def test_a_fault_in_a_config_file_is_named(
    canonbench: Canonbench, world: Path, content: str, code: int, names: str, says: str
) -> None:
    (world / "own.yaml").write_bytes(content.encode("latin-1"))
    outcome = canonbench(*EVALUATE, "--config", "own.yaml")
    assert outcome.code == code
    assert names in outcome.error
    assert says in outcome.error


def test_a_config_file_that_is_not_there(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE, "--config", "own.yaml")
    assert (outcome.code, outcome.error) == (1, "cannot read own.yaml: No such file or directory")


def test_an_empty_name_of_a_config_file(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE, "--config", "")
    assert (outcome.code, outcome.error) == (2, "--config: give the name of a YAML file")


def test_a_bad_value_from_the_environment_names_the_variable(
    canonbench: Canonbench, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANONBENCH_LIMIT", "0")
    outcome = canonbench(*EVALUATE)
    assert outcome.code == 2
    assert outcome.error.endswith("0 is not in the range 1<=x<=2147483647 (given by CANONBENCH_LIMIT)")
