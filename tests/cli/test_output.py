"""What is printed where: a table for people, JSON for programs, nothing on request; notes on standard error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from cli_cases import EVALUATE, MODEL, QUICK, Canonbench

from canonbench.results.rows import json_schema


def test_the_same_command_again_is_already_complete_and_prints_the_same(canonbench: Canonbench, world: Path) -> None:
    command = (*MODEL, "edited", "--base", "base")
    first, second = canonbench(*command), canonbench(*command)
    assert "already complete: nothing is scored again" in second.err
    assert "already complete" not in first.err
    assert second.out == first.out
    assert (first.code, second.code) == (0, 0)
    assert len(list(world.glob("canonbench-runs/*/row.json"))) == 1


def test_the_run_folder_is_named_and_holds_what_it_should(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE)
    (folder,) = re.findall(r"^run folder: (\S+)$", outcome.err, re.MULTILINE)
    assert re.fullmatch(r"canonbench-runs/base-small-test-[0-9a-f]{8}", folder)
    names = {path.name for path in (world / folder).iterdir()}
    assert names >= {"row.json", "run.yaml", "examples.parquet", "events.jsonl"}


def test_quiet_prints_nothing(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE, "--quiet", "--output", "row.json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (world / "row.json").is_file()


def test_quiet_still_prints_the_error(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*EVALUATE, "--quiet", "--base", "base")
    assert outcome.error
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_json_prints_the_row_and_nothing_else_on_standard_output(
    canonbench: Canonbench, world: Path, quiet: tuple[str, ...]
) -> None:
    outcome = canonbench(*MODEL, "edited", "--base", "base", "--run", "run", "--json", *quiet)
    assert outcome.code == 0
    jsonschema.validate(json.loads(outcome.out), json_schema())
    assert outcome.out == (world / "run/row.json").read_text(encoding="utf-8")
    assert bool(outcome.err) == (not quiet)


def test_output_writes_exactly_that_file_and_it_is_the_row(canonbench: Canonbench, world: Path) -> None:
    (world / "deep/er").mkdir(parents=True)
    before = set(world.rglob("*"))
    assert canonbench(*QUICK, "--run", "run", "--output", "deep/er/my row.json").code == 0
    assert (world / "deep/er/my row.json").read_bytes() == (world / "run/row.json").read_bytes()
    new = {path for path in set(world.rglob("*")) - before if world / "run" not in (path, *path.parents)}
    assert new == {world / "deep/er/my row.json"}


def test_output_replaces_an_older_file(canonbench: Canonbench, world: Path) -> None:
    (world / "row.json").write_text("old " * 10_000)
    assert canonbench(*QUICK, "--output", "row.json").code == 0
    assert json.loads((world / "row.json").read_text())["limit"] == 2


def test_a_dry_run_scores_nothing_and_leaves_nothing(canonbench: Canonbench, world: Path) -> None:
    command = (*MODEL, "edited", "--base", "base", "--dry-run")
    before = set(world.rglob("*"))
    costs = json.loads(canonbench(*command, "--json").out)
    assert set(world.rglob("*")) == before
    assert list(costs) == ["base", "edited"]
    weights = (world / "base/model.safetensors").stat().st_size
    tight = json.loads(canonbench(*command, "--json", "--batch-tokens", "16").out)
    assert weights < tight["edited"]["bytes"] < costs["edited"]["bytes"]
    assert costs["base"]["flops"] > costs["edited"]["flops"] > 0  # the base's general text is scored twice
    table = canonbench(*command).out.splitlines()
    assert table[0].split() == ["dry", "run", "tokens", "FLOPs", "memory,", "GB"]
    assert [line.split()[:2] for line in table[1:]] == [[name, f"{costs[name]['tokens']:,}"] for name in costs]
    assert list(json.loads(canonbench(*EVALUATE, "--dry-run", "--json").out)) == ["model"]
    assert canonbench(*command, "--quiet").out == ""


def test_a_dry_run_refuses_what_the_run_would_refuse(canonbench: Canonbench, world: Path) -> None:
    for change in (("--base", "base"), ("--task", "contry"), ("--model", "./nowhere"), ("--dtype", "x")):
        dry, wet = canonbench(*EVALUATE, *change, "--dry-run"), canonbench(*EVALUATE, *change)
        assert (dry.code, dry.error) == (wet.code, wet.error)


def test_a_limit_and_missing_general_text_are_said_before_and_in_the_table(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*QUICK)
    assert outcome.err.startswith(
        "suite small, test split, gender; no general text, only the first 2 rows of every file"
    )
    assert "first 2 rows of every file only" in outcome.out
    assert "no general text was scored" in outcome.out


def test_a_name_that_looks_like_markup_is_printed_as_it_is(canonbench: Canonbench, world: Path) -> None:
    (world / "[bold]:smile:").symlink_to((world / "base").resolve())
    assert canonbench(*QUICK, "--model", "[bold]:smile:").out.startswith("[bold]:smile:\n")
