"""What a run folder is called where nobody names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonbench.runs.folder import run_folder


@pytest.mark.parametrize(
    ("names", "start"),
    [
        (["demo"], "demo"),
        (["org/model@0123abc"], "model-0123abc"),
        (["lora", "/models/a,b=c/small"], "lora-small"),
        (
            ["ensemble:org/large,runs/val/artefacts/country/seed-0/candidate-3,base=models/small,beta=0.7"],
            "ensemble-large-candidate-3-base-small-beta-0.7",
        ),
        (["/"], "model"),
    ],
)
def test_its_name_begins_with_the_last_parts_of_what_was_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str], start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with run_folder("auto", {"suite": "mini", "split": "val"}, names) as folder:
        assert folder.path.name.rpartition("-")[0] == f"{start}-mini-val"
