"""Finished runs that nobody ran: rows and examples.parquet of numbers worked out by hand, and the suite they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from run_cases import jsonl

from canonbench.results.aggregate import GeneralText, aggregate
from canonbench.results.aggregate_edits import aggregate_edits
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.examples import write_parquet
from canonbench.results.row import Row
from canonbench.scoring.protocol import PROTOCOLS
from canonbench.suite.suite import Suite
from worked_out import CHOICES, REPORTED, Rows, columns, edit_rows

TASKS = {"country": TaskSpec("nll", -math.log(0.20)), "gender": TaskSpec("balance", math.log(1.5))}
GENERAL = GeneralText("chunks", "9" * 64)
PREFIXES = {
    "country": [
        "The delegates flew home from Paris, which is in France, and said of the city they had left that it is",
        "France, says the atlas, is governed from",
        "Peru's capital is",
        "He had been to Chad twice, and both times he stayed in",
    ],
    "gender": ["The nurse said that", "The janitor said that"],
}
ANSWERS = [" Paris", " Paris", " Lima", " N'Djamena"]


def write_edit_suite(folder: Path) -> Path:
    """The texts of ``worked_out``: two tasks, whose evaluation rows those are."""
    country = [{"prefix": x, "suffix": y} for x, y in zip(PREFIXES["country"], ANSWERS, strict=True)]
    gender = [{"prefix": x, "suffix1": " he", "suffix2": " she"} for x in PREFIXES["gender"]]
    tasks: dict[str, Any] = {}
    for name, rows in (("country", country), ("gender", gender)):
        hard = [{"prefix": row["prefix"], "suffix": " it"} for row in rows[:2]]
        parts = {"canonical": rows, "evaluation": rows, "hard_negatives": hard}
        for part, content in parts.items():
            jsonl(folder / f"{name}/test-{part}.jsonl", content)
        tasks[name] = {"test": {part: f"{name}/test-{part}.jsonl" for part in parts}}
    (folder / "suite.yaml").write_text(yaml.safe_dump({"name": "worked-out", "tasks": tasks}), encoding="utf-8")
    return folder


def write_edit_run(
    folder: Path,
    at: Path,
    *,
    rows: Rows | None = None,
    choices: Mapping[str, Any] = CHOICES,
    tasks: Mapping[str, TaskSpec] = TASKS,
    method: str = "lora",
    **changes: Any,
) -> Path:
    """An edit run's folder, of the suite ``at`` that folder; ``changes`` are of the row's own keys."""
    table = columns([row for row in rows or edit_rows() if row["task"] in tasks])
    own = {label: {task: taken[task] for task in tasks} for label, taken in choices.items()}
    reported = {label: {task: REPORTED[label][task] for task in tasks} for label in own}
    protocol = PROTOCOLS["canonbench-1"]
    found = aggregate_edits(table, tasks=tasks, protocol=protocol, general=GENERAL, choices=own, reported=reported)
    edited = {"track": "per-task", "method": method, "hyperparameters": {}, "tasks": None, "average": None}
    return _write(folder, at, table, {**edited, "general": found.general, "leagues": found.leagues, **changes})


def write_fixed_run(folder: Path, at: Path, *, taken: tuple[int, int] = (0, 2), **changes: Any) -> Path:
    """A fixed checkpoint's folder: one candidate of country, as if it were all that there is."""
    rows = [row for row in edit_rows() if (row["task"], row["seed"], row["candidate"]) == ("country", *taken)]
    table = columns([{**row, "task": "" if row["part"] == "general" else row["task"]} for row in rows])
    tasks = {"country": TASKS["country"]}
    found = aggregate(table, tasks=tasks, protocol=PROTOCOLS["canonbench-1"], general=GENERAL)
    fixed = {"track": "joint", "method": None, "hyperparameters": None, "leagues": None}
    return _write(folder, at, table, {**fixed, **found._asdict(), **changes})


def _write(folder: Path, at: Path, table: dict[str, Any], parts: dict[str, Any]) -> Path:
    base = {"name": "tiny", "source": "folder", "revision": None}
    row = {
        "schema": 3,
        "state": "measured",
        "provenance": {"source": "by hand", "note": None},
        "submission": None,
        "flags": [],
        "examples": None,
        "protocol": "canonbench-1",
        "suite": {"name": "worked-out", "version": "1", "data_hash": Suite.load(at).data_hash("test")},
        "split": "test",
        "limit": None,
        "model": base,
        "base": base,
        "fingerprints": {"model": None if parts["leagues"] else "b" * 64, "base": "c" * 64},
        "dtype": "float32",
        "device": "cpu",
        "versions": {"canonbench": "0"},
        "seconds": 1.0,
        "peak_memory_bytes": 1,
    }
    folder.mkdir(parents=True)
    Row.model_validate({**row, **parts}).write(folder / "row.json")
    write_parquet(table, folder / "examples.parquet")
    return folder
