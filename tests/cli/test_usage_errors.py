"""A command that is wrong in itself: one line, exit code 2, what is meant; and nothing is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import EVALUATE, MODEL, Canonbench

MISTYPED = {
    "verb": (["evalute"], "unknown command 'evalute'", "'evaluate'"),
    "verb of a verb": (["data", "chek"], "unknown command 'chek'", "'check'"),
    "option": (["evaluate", "--modle", "base"], "'--modle'", "'--model'"),
    "option of the program": (["--debgu", "tasks"], "'--debgu'", "'--debug'"),
    "task": ([*EVALUATE, "--task", "gender,contry"], "unknown task 'contry' of suite 'small'", "'country'"),
    "task to show": (["tasks", "show", "gendr", "--suite", "suite"], "unknown task 'gendr'", "'gender'"),
    "suite": (["evaluate", "--model", "base", "--suite", "mni"], "unknown suite 'mni'", "'mini'"),
    "suite to check": (["data", "check", "publishd"], "unknown suite 'publishd'", "'published'"),
    "data set to fetch": (["data", "fetch", "publised"], "unknown data set 'publised'", "'published'"),
    "split": ([*EVALUATE, "--split", "tset"], "unknown split 'tset'", "'test'"),
    "split to show": (
        ["tasks", "show", "mine", "--split", "vla", "--suite", "suite"],
        "unknown split 'vla'",
        "'val'",
    ),
    "protocol": ([*EVALUATE, "--protocol", "canonbench1"], "unknown protocol 'canonbench1'", "'canonbench-1'"),
    "general text": ([*EVALUATE, "--general", "chnks"], "unknown general text 'chnks' of suite 'small'", "'chunks'"),
    "dtype": ([*EVALUATE, "--dtype", "flaot32"], "unknown dtype 'flaot32'", "'float32'"),
    "model": ([*MODEL, "dmeo"], "unknown model 'dmeo'", "'demo'"),
}

SEE_HELP = "see 'canonbench evaluate --help'"
WRONG = {
    "unknown verb, nothing close": (["xyzzy"], "unknown command 'xyzzy'", "compare, convert-backpack, data, edit, "),
    "unknown option, nothing close": ([*EVALUATE, "--zzzz"], "'--zzzz'", SEE_HELP),
    "no model": (["evaluate"], "'--model'", SEE_HELP),
    "no value": (["evaluate", "--model"], "--model", "requires an argument"),
    "an argument too many": ([*EVALUATE, "gender"], "(gender)", SEE_HELP),
    "nothing to show": (["tasks", "show"], "'NAME'", "see 'canonbench tasks show --help'"),
    "device": ([*EVALUATE, "--device", "gpu"], "device 'gpu' cannot be used here", "try --device cpu"),
    "no task": ([*EVALUATE, "--task", " ,"], "no task given", "--task all"),
    "no tokens": (
        [*EVALUATE, "--batch-tokens", "0"],
        "'--batch-tokens'",
        "'0' is neither 'auto' nor a number of",
    ),
    "tokens in words": ([*EVALUATE, "--batch-tokens", "abc"], "'--batch-tokens'", "'abc' is neither 'auto' nor"),
    "no rows": ([*EVALUATE, "--limit", "0"], "'--limit'", "0 is not in the range 1<=x<="),
    "rows in words": ([*EVALUATE, "--limit", "few"], "'--limit'", "'few' is not a valid whole number"),
    "twenty digits of seed": (
        ["merge", "a", "--out", "b", "--seed", "9" * 20],
        "'--seed'",
        "is not in the range 0<=x<=4294967295",
    ),
    "twenty digits of rows": ([*EVALUATE, "--limit", "9" * 20], "'--limit'", "is not in the range 1<=x<=2147483647"),
    "twenty digits of tokens": ([*EVALUATE, "--batch-tokens", "9" * 20], "'--batch-tokens'", "from 1 to 2147483647"),
    "too many digits of tokens": (
        [*EVALUATE, "--batch-tokens", "9" * 5000],
        "'--batch-tokens'",
        "from 1 to 2147483647",
    ),
    "a task twice": ([*EVALUATE, "--task", "gender,mine,gender"], "'gender'", "is given twice"),
    "a suite that is too long": (["evaluate", "--model", "base", "--suite", "x" * 300], "unknown suite 'xxx", "mini"),
    "a model that is too long": ([*MODEL, "x/" + "x" * 300 + ".gguf"], "no model at 'x/xxx", "no such file"),
    "a name that is not text": ([*MODEL, "a\udcff"], r"'a\udcff'", "is not UTF-8 text"),
    "an infinite budget": ([*EVALUATE, "--states-budget", "1e999"], "--states-budget", "a number of GiB"),
    "negative budget": ([*EVALUATE, "--states-budget", "-1"], "--states-budget", "a number of GiB, 0 for off; not -1"),
    "budget in words": ([*EVALUATE, "--states-budget", "much"], "'--states-budget'", "'much' is not a valid float"),
    "no such model": (
        [*MODEL, "./nowhere"],
        "'./nowhere'",
        "no such file or folder",
    ),
    "model is a file": ([*MODEL, "a.txt"], "a.txt is a file", "a model is a folder"),
    "suite is nowhere": (
        ["evaluate", "--model", "base", "--suite", "no/such"],
        "'no/such' (nor is it a folder)",
        "mini",
    ),
    "output without a folder": ([*EVALUATE, "--output", "no/row.json"], "--output no/row.json", "does not exist"),
    "output is a folder": ([*EVALUATE, "--output", "suite"], "'suite' is a directory", SEE_HELP),
    "run is a file": ([*EVALUATE, "--run", "a.txt"], "--run a.txt", "a.txt is a file; a run is a folder"),
    "run under a file": ([*EVALUATE, "--run", "a.txt/run"], "--run a.txt/run", "a.txt is a file; a run is a folder"),
}


@pytest.mark.parametrize(("arguments", "names", "means"), MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_name_gets_a_did_you_mean(
    canonbench: Canonbench, world: Path, arguments: list[str], names: str, means: str
) -> None:
    outcome = canonbench(*arguments)
    assert outcome.code == 2
    assert names in outcome.error
    assert f"Did you mean {means}?" in outcome.error
    assert not (world / "canonbench-runs").exists()


@pytest.mark.parametrize(("arguments", "names", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_gets_one_line_that_names_the_thing(
    canonbench: Canonbench, world: Path, arguments: list[str], names: str, says: str
) -> None:
    (world / "a.txt").write_text("")
    outcome = canonbench(*arguments)
    assert outcome.code == 2
    assert names in outcome.error
    assert says in outcome.error
    assert not outcome.out
    assert not (world / "canonbench-runs").exists()


def test_a_wrong_name_is_found_before_the_model_is_looked_at(canonbench: Canonbench, world: Path) -> None:
    for option, value in (("--task", "contry"), ("--output", "no/row.json"), ("--run", "suite/suite.yaml")):
        assert value in canonbench("evaluate", "--model", "./nowhere", "--suite", "suite", option, value).error


def test_no_arguments_at_all_gets_the_help_and_exit_code_2(canonbench: Canonbench) -> None:
    outcome = canonbench()
    assert outcome.code == 2
    assert outcome.err.startswith("Usage: canonbench [OPTIONS] COMMAND")
    assert "Score a checkpoint" in outcome.err


def test_the_error_stays_one_line_whatever_the_name_holds(canonbench: Canonbench, world: Path) -> None:
    assert "--output no such/row.json" in canonbench(*EVALUATE, "--output", "no\nsuch/row.json").error


@pytest.mark.parametrize("option", ["--run", "--output"])
def test_a_place_whose_name_is_too_long_is_refused_before_anything_runs(
    canonbench: Canonbench, world: Path, option: str
) -> None:
    outcome = canonbench(*EVALUATE, option, "x" * 300)
    assert outcome.code == 1
    assert outcome.error == f"cannot write {'x' * 300}: File name too long"
    assert not list(world.glob("canonbench-runs/*"))
