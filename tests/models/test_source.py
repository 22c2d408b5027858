from __future__ import annotations

from pathlib import Path

import pytest

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.source import Source, parse_source


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_what_lies_on_disk_decides_what_a_name_is(tmp_path: Path) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    touch(model / "config.json")
    touch(adapter / "adapter_config.json")
    touch(adapter / "config.json")
    gguf = touch(tmp_path / "m.gguf")
    assert parse_source(model) == Source("folder", str(model), model)
    assert parse_source(str(adapter)).kind == "peft"
    assert parse_source(gguf) == Source("gguf", str(gguf), gguf)


def test_a_folder_beside_the_working_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "gpt2" / "config.json")
    monkeypatch.chdir(tmp_path)
    assert parse_source("gpt2").kind == "folder"


@pytest.mark.parametrize(
    ("name", "identifier", "revision"),
    [
        ("gpt2", "gpt2", None),
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-70m", None),
        ("EleutherAI/pythia-70m@step3000", "EleutherAI/pythia-70m", "step3000"),
        ("a/b@refs/pr/7", "a/b", "refs/pr/7"),
    ],
)
def test_a_hub_id_may_carry_a_revision(name: str, identifier: str, revision: str | None) -> None:
    assert parse_source(name) == Source("hub", identifier, revision=revision)


def test_demo_is_the_demo_model_and_a_slip_of_it_is_pointed_out() -> None:
    assert parse_source("demo") == Source("demo", "demo")
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        parse_source("dmeo")
    with pytest.raises(UsageError, match="Did you mean 'demo-backpack'"):
        parse_source("demo_backpack")


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "nowhere.gguf", "two words", ""]
)
def test_a_path_that_is_not_there_is_never_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        parse_source(name)


def test_a_path_object_is_never_a_hub_id() -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        parse_source(Path("gpt2"))


def test_a_folder_without_a_model_and_a_weights_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError, match=r"holds neither config\.json nor adapter_config\.json"):
        parse_source(tmp_path)
    with pytest.raises(UsageError, match="is a file; a model is a folder"):
        parse_source(touch(tmp_path / "model.safetensors"))
