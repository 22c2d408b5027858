from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from canonbench import files
from canonbench.errors import CanonbenchError
from canonbench.results.row import Row


def fails(path: Path, message: str) -> None:
    with pytest.raises(CanonbenchError, match=message) as caught:
        Row.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_file_gets_one_line_with_its_path_and_the_first_problem(fixed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    fails(path, "cannot read .*row.json: No such file")
    path.write_bytes(b"\xff\xfe")
    fails(path, "not UTF-8")
    path.write_text(json.dumps(fixed)[:-20], encoding="utf-8")
    fails(path, r"row.json:1:\d+: not valid JSON")
    path.write_text("[]", encoding="utf-8")
    fails(path, "row.json: Input should be")
    fixed["tasks"]["country"]["success"]["edited"] = None
    fixed["seconds"] = "long"
    path.write_text(json.dumps(fixed), encoding="utf-8")
    fails(path, r"row.json: seconds: Input should be a valid number \(and 1 more\)")
    fixed["seconds"] = 1.0
    path.write_text(json.dumps(fixed), encoding="utf-8")
    fails(path, "row.json: tasks.country.success.edited: Input should be a valid number")
    fixed["tasks"]["country"]["success"]["edited"] = float("nan")
    path.write_text(json.dumps(fixed), encoding="utf-8")
    fails(path, "tasks.country.success.edited: Input should be a finite number")


def test_a_check_across_fields_reads_like_the_others(fixed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text(json.dumps({**fixed, "device": None}), encoding="utf-8")
    fails(path, r"row.json: device: missing; only a reported row may lack it$")


def test_a_row_that_cannot_be_written_leaves_the_old_one_and_nothing_else(
    fixed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, row = tmp_path / "row.json", Row.model_validate(fixed)
    path.write_text("the old one", encoding="utf-8")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(CanonbenchError, match=r"cannot write .*row.json: No space left"):
        row.write(path)
    assert [(found.name, found.read_text(encoding="utf-8")) for found in tmp_path.iterdir()] == [
        ("row.json", "the old one")
    ]


def test_places_that_cannot_hold_a_row_are_named(fixed: dict[str, Any], tmp_path: Path) -> None:
    row = Row.model_validate(fixed)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CanonbenchError, match=r"cannot write .*absent.*No such file"):
        row.write(tmp_path / "absent" / "row.json")
    with pytest.raises(CanonbenchError, match=r"cannot write .*Not a directory"):
        row.write(tmp_path / "file" / "row.json")
    with pytest.raises(CanonbenchError, match="not a regular file"):
        row.write(tmp_path)
    with pytest.raises(CanonbenchError, match="not a regular file"):
        row.write(Path(os.devnull))
    assert Path(os.devnull).is_char_device()


def test_a_symbolic_link_stays_one_and_its_target_gets_the_row(fixed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    link = tmp_path / "row.json"
    link.symlink_to(tmp_path / "target" / "real.json")
    Row.model_validate(fixed).write(link)
    assert link.is_symlink()
    assert Row.read(tmp_path / "target" / "real.json") == Row.model_validate(fixed)


def test_a_written_row_has_the_permissions_of_any_new_file(fixed: dict[str, Any], tmp_path: Path) -> None:
    Row.model_validate(fixed).write(tmp_path / "row.json")
    (tmp_path / "plain").write_text("", encoding="utf-8")
    assert (tmp_path / "row.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_importing_the_leaderboard_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'pyarrow'}"
    code = f"import sys, canonbench.results; print({heavy} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
