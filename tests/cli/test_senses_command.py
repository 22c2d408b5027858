"""``canonbench senses`` from the command line, on a tiny Backpack and on what an edit run kept of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_cases import Canonbench
from run_cases import write_suite

import canonbench as package
from canonbench.cli.senses import senses
from tiny_models import save_tiny

KEPT = "run/artefacts/country/seed-0/candidate-1"
ON_SUITE = ("country", "--suite", "suite", "--set", "k=3")


@pytest.fixture(scope="module")
def backpack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Backpack, edits of it by two methods, a model that is none; never written to."""
    folder = tmp_path_factory.mktemp("backpack")
    write_suite(folder / "suite", chunks=4)
    save_tiny(folder / "base", "backpack", tokenizer="bos")
    save_tiny(folder / "llama", "llama", tokenizer="bos")
    how: dict[str, Any] = {"suite": folder / "suite", "tasks": "country", "leagues": ["1e-3"], "keep": "all"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANONBENCH_CACHE", str(folder / "cache"))
        for method, name, settings in (("senses", "run", {"k": 4, "lr": 3e-2}), ("bitfit", "biases", {})):
            package.edit(method, str(folder / "base"), run=folder / name, settings={"epochs": 1, **settings}, **how)
    return folder


@pytest.fixture(autouse=True)
def _there(backpack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in backpack.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)


def test_the_table_shows_the_chosen_senses_by_importance(canonbench: Canonbench) -> None:
    outcome = canonbench("senses", "base", *ON_SUITE, "--rows", "2", "--words", "3")
    assert outcome.code == 0, outcome.err
    assert outcome.err == "suite small, val split, country; general text chunks\n"
    title, _, header, *rows, rest = outcome.out.splitlines()
    found = json.loads(canonbench("senses", "base", *ON_SUITE, "--words", "3", "--json", "--quiet").out)
    assert title == f"{len(found)} senses of {len({each['token_id'] for each in found})} tokens"
    assert header.split() == ["token", "sense", "importance", "promotes"]
    assert [row.split() for row in rows] == [
        [each["token"], str(each["sense"]), f"{each['importance']:.4g}", *(word["text"] for word in each["before"])]
        for each in found[:2]
    ]
    assert rest == f"and {len(found) - 2} more; see --rows"


def test_of_an_edit_the_words_before_and_after_are_shown(canonbench: Canonbench) -> None:
    outcome = canonbench("senses", KEPT, "country", "--suite", "suite")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[2].split() == ["token", "sense", "importance", "before", "after"]
    found = json.loads(canonbench("senses", KEPT, "country", "--suite", "suite", "--json", "--quiet").out)
    unedited = json.loads(
        canonbench("senses", "base", "country", "--suite", "suite", "--set", "k=4", "--json", "--quiet").out
    )
    assert [{**each, "after": None} for each in found] == unedited  # k=4 is what the run was told
    assert all(each["after"] != each["before"] for each in found)


def test_json_has_every_sense_and_nothing_else_is_printed(canonbench: Canonbench) -> None:
    outcome = canonbench("senses", "base", *ON_SUITE, "--rows", "1", "--words", "2", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert len(found) > 1
    assert list(found[0]) == ["token_id", "token", "sense", "importance", "before", "after"]
    assert [list(word) for word in found[0]["before"]] == [["token_id", "text", "logit"]] * 2


@pytest.mark.parametrize("model", ["base", KEPT])
def test_the_picture_is_the_same_to_the_byte_each_time(model: str, canonbench: Canonbench, tmp_path: Path) -> None:
    for name in ("one", "other"):
        outcome = canonbench("senses", model, *ON_SUITE, "--picture", tmp_path / f"{name}.svg")
        assert outcome.code == 0
        assert f"wrote {tmp_path / name}.svg" in outcome.err
    content = (tmp_path / "one.svg").read_bytes()
    assert content.startswith(b"<?xml")
    assert content == (tmp_path / "other.svg").read_bytes()


def test_an_exported_edit_shows_before_and_after_too(canonbench: Canonbench) -> None:
    assert canonbench("export", KEPT, "--to", "whole").code == 0
    whole, kept = (
        json.loads(canonbench("senses", model, *ON_SUITE, "--json", "--quiet").out) for model in ("whole", KEPT)
    )
    assert [each["after"] for each in whole] == [each["after"] for each in kept]


def test_a_base_that_moved_is_named(canonbench: Canonbench, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / KEPT, tmp_path / "kept")
    said = (tmp_path / "kept/canonbench_edit.json").read_text(encoding="utf-8")
    gone = json.loads(said) | {"base": json.loads(said)["base"] | {"name": str(tmp_path / "gone")}}
    (tmp_path / "kept/canonbench_edit.json").write_text(json.dumps(gone), encoding="utf-8")
    assert "gone" in canonbench("senses", "kept", *ON_SUITE).error
    assert canonbench("senses", "kept", *ON_SUITE, "--base", "base").code == 0


def test_options_and_settings_come_from_a_file(canonbench: Canonbench, tmp_path: Path) -> None:
    (tmp_path / "senses.yaml").write_text("suite: suite\nquiet: true\njson: true\nk: 3\n", encoding="utf-8")
    expected = canonbench("senses", "base", *ON_SUITE, "--json", "--quiet")
    assert canonbench("senses", "base", "country", "--config", "senses.yaml") == expected


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("llama", "country"), 1, "llama: LlamaForCausalLM has no senses to show; give a Backpack model"),
        (("biases/artefacts/country/seed-0/candidate-1", "country"), 1, "is an edit, but not of senses"),
        (
            ("base", "contry"),
            2,
            "unknown task 'contry' of suite 'small', must be one of country, gender, mine. Did you mean 'country'?",
        ),
        (("base", "country,gender"), 2, "one task at a time, not country,gender"),
        (("base", "all"), 2, "one task at a time, not all"),
        (("base",), 2, "Missing argument 'TASK'"),
        (("./gone", "country"), 2, "no model at './gone'"),
        (
            ("base", "country", "--split", "tset"),
            2,
            "unknown split 'tset', must be one of test, val. Did you mean 'test'?",
        ),
        (("base", "country", "--set", "kk=5"), 2, "unknown setting 'kk'"),
        (("base", "country", "--set", "k=0"), 2, "setting 'k' is 0"),
        (("base", "country", "--general", "none"), 1, "there is no regularisation text"),
        (("base", "country", "--picture", "gone/senses.svg"), 2, "--picture gone/senses.svg: the folder"),
        (("base", "country", "--picture", "senses.png"), 2, "it will be SVG; let the name end in .svg"),
        (("base", "country", "--rows", "0"), 2, "--rows"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    canonbench: Canonbench, arguments: tuple[str, ...], code: int, says: str
) -> None:
    outcome = canonbench("senses", *arguments, "--suite", "suite")
    assert (outcome.code, outcome.out) == (code, "")
    assert says in outcome.error


def test_a_picture_that_cannot_be_written_is_one_line(canonbench: Canonbench, tmp_path: Path) -> None:
    (tmp_path / "full.svg").symlink_to("/dev/full")
    outcome = canonbench("senses", "base", *ON_SUITE, "--picture", "full.svg")
    assert outcome.code == 1
    assert "cannot write full.svg: it is not a regular file" in outcome.error


def test_every_option_is_in_the_documentation() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/senses.md").read_text(encoding="utf-8")
    flags = [max(parameter.opts, key=len) for parameter in senses.params if parameter.opts[0].startswith("-")]
    assert [flag for flag in flags if f"`{flag}`" not in page] == []
