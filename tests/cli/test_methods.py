"""``canonbench methods`` and the settings at the end of ``canonbench edit --method NAME --help``."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import Canonbench

from canonbench.editing.method import BUILT_IN, find_method
from canonbench.editing.settings import fields_of

OWN = '''
from dataclasses import dataclass

from canonbench.editing.contract import EditRequest


@dataclass
class Settings:
    rank: int
    scale: float = 1e-6


def edit(model, tokenizer, request: EditRequest[Settings]):
    """Do nothing much.

    At length.
    """
    return model
'''


def install(folder: Path, name: str, entries: str, code: str) -> None:
    """A package with entry points, as an installer leaves it."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[canonbench.methods]\n{entries}\n", encoding="utf-8")


def test_every_built_in_method_is_listed_with_a_line_of_its_own(canonbench: Canonbench) -> None:
    outcome = canonbench("methods")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    for name in BUILT_IN:
        assert f"\n{name} " in outcome.out
    assert "no docstring" not in outcome.out


def test_methods_of_installed_packages_are_listed_and_a_broken_one_hides_no_other(
    canonbench: Canonbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = "mine = methods_of_mine:edit\nbroken = methods_that_are_not_there:edit\nlora = methods_of_mine:edit"
    install(tmp_path, "methods_of_mine", entries, OWN)
    monkeypatch.syspath_prepend(tmp_path)
    out = " ".join(canonbench("methods").out.split())
    assert "mine Do nothing much." in out
    assert "broken unusable: " in out
    assert "lora hidden by the built-in method of this name; use --method methods_of_mine:edit" in out
    assert "scale 1e-6 [number]" in " ".join(canonbench("methods", "show", "mine").out.split())


@pytest.mark.parametrize("name", BUILT_IN)
def test_all_settings_of_a_method_are_shown_and_stand_in_its_help(canonbench: Canonbench, name: str) -> None:
    shown, helped = canonbench("methods", "show", name), canonbench("edit", "--method", name, "--help")
    assert (shown.code, helped.code) == (0, 0)
    assert max(map(len, shown.out.splitlines())) <= 80
    cls = find_method(name).settings
    assert cls is not None
    end = helped.out.split(f"\nSettings of {name}, for --set NAME=VALUE:\n")[1]
    for setting in fields_of(cls):
        assert setting.doc, f"{name}: {setting.name} has no docstring"
        assert f"\n{setting.name} " in shown.out
        assert f"\n  {setting.name} " in end
        for text in (shown.out, end):
            assert set(setting.doc.split()) <= set(text.split()), setting.name


def test_the_help_ends_with_the_settings_wherever_the_method_stands(canonbench: Canonbench) -> None:
    ends = {canonbench("edit", *order).out for order in (("--help", "--method", "lora"), ("--method=lora", "-h"))}
    assert len(ends) == 1
    assert "Settings of lora" in ends.pop()
    assert "Settings of" not in canonbench("edit", "--help").out


def test_a_method_of_ones_own_is_shown_by_its_file(canonbench: Canonbench, tmp_path: Path) -> None:
    (tmp_path / "method.py").write_text(OWN, encoding="utf-8")
    lines = [" ".join(line.split()) for line in canonbench("methods", "show", tmp_path / "method.py").out.splitlines()]
    assert lines[0].endswith(": Do nothing much.")
    assert lines[3:] == ["rank required [whole number]", "scale 1e-6 [number]"]
    helped = canonbench("edit", "--method", tmp_path / "method.py", "--help").out
    assert [" ".join(line.split()) for line in helped.splitlines()[-2:]] == [
        "rank [whole number; required]",
        "scale [number; default: 1e-6]",
    ]


def test_a_method_without_a_settings_class_says_so(canonbench: Canonbench, tmp_path: Path) -> None:
    (tmp_path / "method.py").write_text("def edit(model, tokenizer, request):\n    return model\n", encoding="utf-8")
    for arguments in (("methods", "show"), ("edit", "--help", "--method")):
        out = canonbench(*arguments, tmp_path / "method.py").out
        assert "It names no settings class" in out
        assert "(no docstring)" in out


def test_an_unknown_method_is_one_line(canonbench: Canonbench) -> None:
    for arguments in (("methods", "show", "lroa"), ("edit", "--method", "lroa", "--help")):
        outcome = canonbench(*arguments)
        assert outcome.code == 2
        assert "Did you mean 'lora'?" in outcome.error
