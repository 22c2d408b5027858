"""Examples and rows that are small enough to check by hand; every fixture hands out a fresh copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from canonbench.results.aggregate import GeneralText
from canonbench.results.aggregate_tasks import TaskSpec

LN = math.log
ABSENT = math.nan

# task, part, index, subject, clean, tokens, base log p (a, b), edited log p (a, b), the base's second measurement of a
EXAMPLES = [
    ("country", "evaluation", 0, "France", True, 2, LN(0.10), ABSENT, LN(0.50), ABSENT, ABSENT),
    ("country", "evaluation", 1, "France", True, 2, LN(0.30), ABSENT, LN(0.40), ABSENT, ABSENT),
    ("country", "evaluation", 2, "Peru", False, 1, LN(0.10), ABSENT, LN(0.10), ABSENT, ABSENT),
    ("country", "evaluation", 3, "Chad", True, 3, LN(0.25), ABSENT, LN(0.30), ABSENT, ABSENT),
    ("country", "hard_negatives", 0, "France", True, 2, -2.0, ABSENT, -2.5, ABSENT, ABSENT),
    ("country", "hard_negatives", 1, "Peru", True, 2, -3.0, ABSENT, -3.5, ABSENT, ABSENT),
    ("gender", "evaluation", 0, "nurse", True, 1, -1.0, -1.2, -1.0, -2.0, ABSENT),
    ("gender", "evaluation", 1, "janitor", True, 1, -1.0, -3.0, -1.0, -2.5, ABSENT),
    ("gender", "hard_negatives", 0, "nurse", True, 1, -0.5, ABSENT, -0.5, ABSENT, ABSENT),
    ("gender", "hard_negatives", 1, "janitor", True, 1, -1.5, ABSENT, -1.5, ABSENT, ABSENT),
    ("", "general", 0, "", True, 10, -30.0, ABSENT, -30.03, ABSENT, -30.00003),
    ("", "general", 1, "", True, 30, -90.0, ABSENT, -90.03, ABSENT, ABSENT),
]
NAMES = (
    *("task", "part", "index", "subject", "clean", "n_tokens_a"),
    *("base_log_p_a", "base_log_p_b", "edited_log_p_a", "edited_log_p_b", "base_again_log_p_a"),
)


def loss_of(task: str, part: str, a: float, b: float) -> float:
    return abs(a - b) if (task, part) == ("gender", "evaluation") else -a


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(NAMES)}
    for model, a in (("base", 6), ("edited", 8)):
        columns[f"{model}_loss"] = np.array([loss_of(row[0], row[1], row[a], row[a + 1]) for row in rows])
    return columns


@pytest.fixture
def examples() -> dict[str, Any]:
    return columns_of(EXAMPLES)


@pytest.fixture
def asked() -> dict[str, Any]:
    return {
        "tasks": {"country": TaskSpec("nll", -LN(0.20)), "gender": TaskSpec("balance", LN(1.5))},
        "general": GeneralText("openwebtext-100", "9" * 64),
    }


@pytest.fixture
def fixed() -> dict[str, Any]:
    """A fixed checkpoint with a base, scored on one task: the content of its row.json."""
    success = {"base": 40.0, "edited": 60.0, "delta": 20.0, "ci": [5.0, 35.0]}
    clean = {"base": 41.0, "edited": 61.5, "delta": 20.5}
    hard = {"base": 2.0, "edited": 2.25, "delta": 0.25, "ci": [0.125, 0.375]}
    return {
        "schema": 3,
        "state": "measured",
        "provenance": {"source": "canonbench 0.1.0", "note": None},
        "submission": None,
        "flags": [],
        "examples": None,
        "protocol": "canonbench-1",
        "suite": {"name": "mini", "version": "1", "data_hash": "a" * 64},
        "split": "test",
        "limit": None,
        "track": "joint",
        "model": {"name": "./edited", "source": "folder", "revision": None},
        "base": {"name": "org/base", "source": "hub", "revision": "main"},
        "method": None,
        "hyperparameters": None,
        "fingerprints": {"model": "b" * 64, "base": "c" * 64},
        "dtype": "float32",
        "device": "cpu",
        "versions": {"canonbench": "0.1.0"},
        "seconds": 12.5,
        "peak_memory_bytes": 1_000_000,
        "general": {
            "name": "mini",
            "data_hash": "d" * 64,
            "n_chunks": 2,
            "n_tokens": 40,
            "base": 3.0,
            "edited": 3.0015,
            "ratio": 1.0005,
            "ratio_ci": [1.000333333, 1.001],
            "straddles": [],
            "noise_floor": 1e-6,
            "leagues": {"1e-3": "in", "1e-4": "out", "1e-5": "out"},
        },
        "tasks": {
            "country": {
                "loss": "nll",
                "threshold": -LN(0.2),
                "n": 60,
                "n_subjects": 30,
                "success": success,
                "clean": {**clean, "n": 55},
                "hard_negatives": {**hard, "n": 40, "n_subjects": 40},
            }
        },
        "average": {
            "tasks": ["country"],
            "n_tasks": 1,
            "complete": False,
            "success": dict(success),
            "clean": clean,
            "hard_negatives": hard,
        },
        "leagues": None,
    }


@pytest.fixture
def alone(fixed: dict[str, Any]) -> dict[str, Any]:
    """The same checkpoint scored without a base."""

    def without_base(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        compared = ("base", "delta", "ci", "ratio", "ratio_ci", "straddles", "noise_floor")
        return {key: None if key in compared else without_base(value) for key, value in part.items()}

    row: dict[str, Any] = without_base(fixed)
    row["general"]["leagues"] = dict.fromkeys(("1e-3", "1e-4", "1e-5"))
    return row


@pytest.fixture
def edit_run(fixed: dict[str, Any]) -> dict[str, Any]:
    """An edit run of the same task with two seeds, in one league."""
    seeds = [
        {"seed": 0, "candidate": 7, "success": 62.0, "ratio": 1.0004, "membership": "in"},
        {"seed": 1, "candidate": 6, "success": 58.0, "ratio": 1.0006, "membership": "in"},
    ]
    chosen = {
        "standard_error": 2.0,
        "ratio": 1.0005,
        "ratio_ci": [1.0003, 1.0007],
        "straddles": False,
        "membership": "in",
        "candidate": 7,
        "seeds": seeds,
    }
    return {
        **fixed,
        "track": "per-task",
        "method": "lora",
        "hyperparameters": {"lr": 3e-4, "rank": 16},
        "fingerprints": {"model": None, "base": "c" * 64},
        "general": {
            **fixed["general"],
            "edited": None,
            "ratio": None,
            "ratio_ci": None,
            "straddles": None,
            "leagues": dict.fromkeys(("1e-3", "1e-4", "1e-5")),
        },
        "tasks": None,
        "average": None,
        "leagues": {
            "1e-3": {"tasks": {"country": {**fixed["tasks"]["country"], **chosen}}, "average": fixed["average"]}
        },
    }


@pytest.fixture
def reported(edit_run: dict[str, Any]) -> dict[str, Any]:
    """A published result: success before and after with its standard error, and little else."""
    success = {"base": 0.171527, "edited": 0.343053, "delta": 0.1715, "ci": None}
    task = {
        "loss": "nll",
        "threshold": -LN(0.2),
        "n": 583,
        "n_subjects": None,
        "success": success,
        "clean": None,
        "hard_negatives": None,
        "standard_error": 0.04,
        **dict.fromkeys(("ratio", "ratio_ci", "straddles", "membership", "candidate", "seeds")),
    }
    average = {
        **edit_run["leagues"]["1e-3"]["average"],
        "success": dict(success),
        "clean": None,
        "hard_negatives": None,
    }
    return {
        **edit_run,
        "state": "reported",
        "provenance": {"source": "hewitt2024:results.jsonl", "note": "the base's loss is broken in bfloat16"},
        "protocol": "hewitt2024",
        "suite": {"name": "published", "version": "1", "data_hash": None},
        "hyperparameters": None,
        "fingerprints": {"model": None, "base": None},
        "dtype": "bfloat16",
        "versions": {},
        **dict.fromkeys(("device", "seconds", "peak_memory_bytes")),
        "general": {
            "name": "openwebtext-500",
            **dict.fromkeys(("data_hash", "n_chunks", "n_tokens", "base", "edited")),
            **dict.fromkeys(("ratio", "ratio_ci", "straddles", "noise_floor")),
            "leagues": {},
        },
        "leagues": {"1e-3": {"tasks": {"country": task}, "average": average}},
    }
