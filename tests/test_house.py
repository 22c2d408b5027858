"""Promises about the house itself that no room's tests hold."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import canonbench
from canonbench.scoring.losses import LOSSES
from canonbench.suite.spec import LOSSES as ARITIES
from canonbench.suite.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_folder_is_in_the_wheel() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(ROOT / "benchmark").parts)
        for path in (ROOT / "benchmark").rglob("__init__.py")
    }
    assert listed == found | {"canonbench.data", "canonbench.demo_models"}


def test_the_data_folder_never_shadows_the_datasets_library() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_suites_and_scoring_agree_on_the_losses() -> None:
    assert {name: loss.arity for name, loss in LOSSES.items()} == ARITIES
    assert {task.loss for task in TASKS.values()} <= LOSSES.keys()


def test_every_public_name_loads_and_the_version_is_one() -> None:
    for name in canonbench.__all__:
        assert getattr(canonbench, name) is not None
    assert f"version: {canonbench.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_no_published_text_is_in_the_repository(published: Path) -> None:
    """No evaluation prefix of the published set stands in a data file of ours."""
    own = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "datasets").rglob("*.jsonl")))
    for path in sorted(published.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            row = json.loads(line) if line else {}
            text = row.get("prefix") or row.get("text") or ""
            if len(text) > 60:
                assert text not in own, f"{path.name}: {text[:80]}"


def test_no_two_test_modules_share_a_name() -> None:
    """They are imported without packages, so the second of a name would be the first."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
