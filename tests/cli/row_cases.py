"""Rows with numbers chosen by hand, for the table that people see."""

from __future__ import annotations

import math
from typing import Any

from canonbench.results.row import Row
from canonbench.suite.tasks import TASKS

Interval = tuple[float, float] | None

# success before and after with its interval, clean rows likewise, hard negatives (nats) likewise; the numbers of rows
SIX = {
    "country": (583, 17.15, 34.31, (12.2, 21.9), 540, 18.0, 35.5, 400, 2.3112, 2.3359, (0.0121, 0.035)),
    "company": (400, 0.0, 100.0, (100.0, 100.0), 380, 0.0, 100.0, 300, 11.5, 9.25, (-2.5, -1.9)),
    "stereoset": (1053, 99.99, 99.9, (-0.3, 0.1), 1000, 99.99, 99.9, 900, 0.0001, 0.0001, (-1e-5, 1e-5)),
    "gender": (9999, 12.5, 9.25, (-4.0, -2.5), 9000, 12.0, 9.0, 9999, 1.25, 1.25, (-0.0005, 0.0005)),
    "temporal": (75, 40.0, 40.0, (0.0, 0.0), 60, 41.25, 41.25, 75, 3.125, 3.0, (-0.25, 0.0)),
    "verb": (240, 55.0, 60.0, (1.5, 8.5), 240, 55.0, 60.0, 240, 14.75, 15.0, (0.2, 0.3)),
}


def change(base: float | None, edited: float, ci: Interval) -> dict[str, Any]:
    delta = None if base is None else round(edited - base, 6)
    return {"base": base, "edited": edited, "delta": delta, "ci": None if base is None else ci}


def task(name: str, values: tuple[Any, ...], *, base: bool) -> dict[str, Any]:
    n, before, after, ci, n_clean, clean_before, clean_after, n_hard, hard_before, hard_after, hard_ci = values
    clean = change(clean_before if base else None, clean_after, None) | {"n": n_clean}
    clean.pop("ci")
    hard = change(hard_before if base else None, hard_after, hard_ci) | {"n": n_hard, "n_subjects": n_hard}
    return {
        "loss": TASKS[name].loss if name in TASKS else "nll",
        "threshold": TASKS[name].threshold if name in TASKS else -math.log(0.5),
        "n": n,
        "n_subjects": 2 if ci or before == after else 1,
        "success": change(before if base else None, after, ci),
        "clean": clean,
        "hard_negatives": hard,
    }


def mean(tasks: dict[str, dict[str, Any]], part: str) -> dict[str, Any]:
    def of(key: str) -> float | None:
        found = [each[part][key] for each in tasks.values()]
        return None if None in found else sum(found) / len(found)

    edited = of("edited")
    assert edited is not None
    changes = [each[part] for each in tasks.values()]
    known = all(each.get("ci") or each["delta"] == 0 for each in changes)
    ci = (-0.5, 8.125) if known and any(each.get("ci") for each in changes) else None
    averaged = change(of("base"), edited, ci)
    return averaged if part != "clean" else {key: averaged[key] for key in ("base", "edited", "delta")}


def made_up(
    values: dict[str, tuple[Any, ...]] = SIX,
    *,
    base: bool = True,
    general: bool = True,
    limit: int | None = None,
) -> Row:
    """A measured row of a fixed checkpoint; ``values`` are tuples as in SIX."""
    tasks = {name: task(name, each, base=base) for name, each in values.items()}
    verdicts = {"1e-3": "in", "1e-4": "uncertain", "1e-5": "out"}
    compared = {"base": 3.245678, "ratio": 1.0001, "ratio_ci": (1.0000512, 1.0001478), "straddles": ("1e-4",)}
    compared |= {"noise_floor": 2.13e-7}
    text = {
        "name": "openwebtext-100",
        "data_hash": "a" * 64,
        "n_chunks": 1000,
        "n_tokens": 97123,
        "edited": 3.246003,
        **(compared if base else dict.fromkeys(compared)),
        "leagues": verdicts if base else dict.fromkeys(verdicts),
    }
    return Row.model_validate(
        {
            "schema": 3,
            "state": "measured",
            "provenance": {"source": "canonbench", "note": None},
            "submission": None,
            "flags": [],
            "examples": None,
            "protocol": "canonbench-1",
            "suite": {"name": "published", "version": "1", "data_hash": "b" * 64},
            "split": "test",
            "limit": limit,
            "track": "joint",
            "model": {"name": "edited", "source": "folder", "revision": None},
            "base": {"name": "EleutherAI/pythia-1b", "source": "hub", "revision": "main"} if base else None,
            "method": None,
            "hyperparameters": None,
            "fingerprints": {"model": "c" * 64, "base": "d" * 64 if base else None},
            "dtype": "float32",
            "device": "cuda:0",
            "versions": {"canonbench": "0"},
            "seconds": 1.0,
            "peak_memory_bytes": 1,
            "general": text if general else None,
            "tasks": tasks,
            "average": {
                "tasks": list(tasks),
                "n_tasks": len(tasks),
                "complete": set(tasks) == set(TASKS),
                "success": mean(tasks, "success"),
                "clean": mean(tasks, "clean"),
                "hard_negatives": mean(tasks, "hard_negatives"),
            },
            "leagues": None,
        }
    )
