"""Whatever names a method leads to it; whatever does not is told why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from canonbench.editing.method import BUILT_IN, find_method
from canonbench.errors import CanonbenchError, UsageError

CODE = """
from __future__ import annotations
from dataclasses import dataclass
from helper_beside import FACTOR
from canonbench.editing.contract import EditRequest

@dataclass
class Settings:
    by: float = FACTOR

def edit(model, tokenizer, request: EditRequest[Settings]):
    return model

def other(model, tokenizer, request):
    return model

def two(model, tokenizer):
    return model

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "method.py").write_text(CODE, encoding="utf-8")
    (place / "helper_beside.py").write_text("FACTOR = 0.5\n", encoding="utf-8")
    return place


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_method_is_there_and_documents_its_settings(name: str) -> None:
    method = find_method(name)
    assert method.name == name
    assert method.settings is not None
    assert method.settings()  # every setting has a default


def test_a_file_names_its_function_or_means_edit(folder: Path) -> None:
    found = find_method(folder / "method.py")
    assert found.settings is not None
    assert found.settings.__name__ == "Settings"
    assert found.settings().by == 0.5
    assert find_method(f"{folder}/method.py:other").settings is None
    assert str(folder) not in sys.path


def test_a_folder_is_a_submission(folder: Path) -> None:
    assert find_method(folder).name == "mine"
    (folder / "submission.yaml").write_text("method: lora\nhyperparameters: {rank: 4}\n", encoding="utf-8")
    found = find_method(str(folder))
    assert (found.name, found.defaults) == ("mine", {"rank": 4})
    assert found.edit is find_method("lora").edit


def test_a_module_and_an_entry_point_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    assert find_method("method:other").name == "method:other"
    metadata = folder / "mine-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[canonbench.methods]\nby-entry = method:edit\n", encoding="utf-8")
    assert find_method("by-entry").settings is not None


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("lorra", "Did you mean 'lora'"),
        ("no_such_package.module:edit", "no module 'no_such_package'"),
        ("json:edit", "json has no 'edit'"),
        ("{folder}/absent.py", "no such file"),
        ("{folder}/method.py:absent", "has no 'absent'"),
    ],
)
def test_an_unknown_method_is_a_usage_error(folder: Path, reference: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        find_method(reference.format(folder=folder))


def test_code_that_cannot_be_used_is_told_why(folder: Path) -> None:
    with pytest.raises(CanonbenchError, match="takes 2 arguments, must take three"):
        find_method(f"{folder}/method.py:two")
    with pytest.raises(CanonbenchError, match="3 is not a function"):
        find_method(f"{folder}/method.py:number")
    (folder / "broken.py").write_text("import absent_module\n", encoding="utf-8")
    with pytest.raises(CanonbenchError, match="cannot be imported: ModuleNotFoundError"):
        find_method(f"{folder}/broken.py")
    (folder / "hidden.py").write_text(
        "from __future__ import annotations\ndef edit(model, tokenizer, request: Hidden[int]): ...\n", encoding="utf-8"
    )
    with pytest.raises(CanonbenchError, match="cannot be read"):
        find_method(f"{folder}/hidden.py")
