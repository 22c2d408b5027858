"""Boards made up for the web page: rows of edit runs whose numbers follow from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from canonbench.board.board import Board, Entry, board
from canonbench.results.compare import Side
from canonbench.results.examples import Block
from canonbench.results.row import Row
from canonbench.results.rows import PlacedRow
from canonbench.suite.tasks import TASKS

LEAGUES = {"1e-3": 1.0, "1e-4": 0.6, "1e-5": 0.25}
"""By league, how much of a method's success is left."""


def edit_row(
    method: str = "lora",
    base: str = "EleutherAI/pythia-410m",
    *,
    worth: float = 10.0,
    seed: int = 0,
    suite: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Row:
    """A measured row of an edit run over all six tasks, worth about so many points in the widest league."""
    drawn = random.Random(f"{method} {base} {seed}")
    content: dict[str, Any] = {
        "schema": 3,
        "state": "measured",
        "provenance": {"source": "canonbench 0.1.0", "note": None},
        "submission": None,
        "flags": [],
        "examples": None,
        "protocol": "canonbench-1",
        "suite": {"name": "mini", "version": "1", "data_hash": "a" * 64, **(suite or {})},
        "split": "test",
        "limit": None,
        "track": "per-task",
        "model": {"name": base, "source": "hub", "revision": "main"},
        "base": {"name": base, "source": "hub", "revision": "main"},
        "method": method,
        "hyperparameters": {"lr": 3e-4, "rank": 16, "epochs": 10},
        "fingerprints": {"model": None, "base": "d" * 64},
        "dtype": "float32",
        "device": "cpu",
        "versions": {"canonbench": "0.1.0", "torch": "2.13.0"},
        "seconds": 812.5,
        "peak_memory_bytes": 2_500_000_000,
        "general": {
            **{"name": "mini", "data_hash": "e" * 64, "n_chunks": 144, "n_tokens": 14023, "base": 4.172537},
            **dict.fromkeys(("edited", "ratio", "ratio_ci", "straddles")),
            "noise_floor": 1.39e-10,
            "leagues": dict.fromkeys(LEAGUES),
        },
        "tasks": None,
        "average": None,
        "leagues": {name: _league(name, worth * share, drawn) for name, share in LEAGUES.items()},
    }
    return Row.model_validate({**content, **changes})


def _league(name: str, worth: float, drawn: random.Random) -> dict[str, Any]:
    tasks = {task: _task(task, name, worth + drawn.uniform(-3, 3), drawn) for task in TASKS}
    average = {
        "tasks": list(tasks),
        "n_tasks": 6,
        "complete": True,
        **{part: _mean(tasks, part) for part in ("success", "clean", "hard_negatives")},
    }
    return {"tasks": tasks, "average": average}


def _task(task: str, league: str, delta: float, drawn: random.Random) -> dict[str, Any]:
    before, hard, ratio = drawn.uniform(5, 40), drawn.uniform(-0.3, 0.5), 1 + float(league) * drawn.uniform(-1.5, 1)
    delta, hard = round(max(-before, delta), 3), round(hard, 4)
    change = {"base": before, "edited": before + delta, "delta": delta}
    seeds = [
        {"seed": seed, "candidate": 5 - seed, "success": before, "ratio": ratio, "membership": "in"}
        for seed in range(2)
    ]
    return {
        "loss": TASKS[task].loss,
        "threshold": TASKS[task].threshold,
        **{
            "n": 66,
            "n_subjects": 22,
            "success": {**change, "ci": (delta - 4, delta + 4)},
            "clean": {**change, "n": 60},
        },
        "hard_negatives": {
            **{"base": 9.0, "edited": 9.0 + hard, "delta": hard, "ci": (hard - 0.1, hard + 0.1), "n": 44},
            "n_subjects": 22,
        },
        **{"standard_error": 0.4, "ratio": ratio, "ratio_ci": (ratio - 1e-6, ratio + 1e-6), "straddles": False},
        **{"membership": "in", "candidate": 5, "seeds": seeds},
    }


def _mean(tasks: Mapping[str, Any], part: str) -> dict[str, Any]:
    def of(key: str) -> float:
        return float(np.mean([task[part][key] for task in tasks.values()]))

    mean: dict[str, Any] = {key: of(key) for key in ("base", "edited")}
    mean["delta"] = mean["edited"] - mean["base"]
    half = 2.0 if part == "success" else 0.05
    return mean if part == "clean" else {**mean, "ci": (mean["delta"] - half, mean["delta"] + half)}


def drawn_up(rows: Iterable[Row]) -> Board:
    """The board of these rows, without per-example values."""
    return board([PlacedRow(f"cases.jsonl:{line}", row) for line, row in enumerate(rows, 1)], no_scores)


def no_scores(_entry: Entry) -> None:
    return None


def no_texts(_group: object) -> None:
    return None


def two_flips(entry: Entry) -> dict[str, Side]:
    """On every task the first row was fixed and the second one broken; the third stays as it was."""

    def block(threshold: float) -> Block:
        good, bad = threshold - 0.5, threshold + 0.5
        base, edited = np.array([bad, good, bad]), np.array([good, bad, bad])
        absent = np.full(3, np.nan)
        clusters = ["first", "second", "third"]
        return Block(np.arange(3), clusters, np.ones(3, bool), np.ones(3, int), edited, (-edited,), base, absent)

    return {name: Side([block(task.threshold)], [], []) for name, task in entry.tasks.items()}
