"""Rows for a board: six tasks, numbers chosen by hand, or computed from per-example values made for the purpose."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from canonbench.results.aggregate import GeneralText
from canonbench.results.aggregate_edits import aggregate_edits
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.examples import EDIT_COLUMNS
from canonbench.results.row import Row
from canonbench.results.rows import PlacedRow
from canonbench.scoring.protocol import PROTOCOLS
from canonbench.suite.tasks import TASKS

LEAGUES = ("1e-3", "1e-4", "1e-5")
BASE = 20.0
"""Success of every base on every task, percent."""
NAN = math.nan


def change(delta: float, ci: tuple[float, float] | None) -> dict[str, Any]:
    return {"base": BASE, "edited": BASE + delta, "delta": delta, "ci": ci}


def average(delta: float, ci: tuple[float, float] | None, hard: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "tasks": list(TASKS),
        "n_tasks": len(TASKS),
        "complete": True,
        "success": change(delta, ci),
        "clean": None,
        "hard_negatives": hard,
    }


def task(name: str, delta: float, ci: tuple[float, float] | None, n_subjects: int | None) -> dict[str, Any]:
    return {
        "loss": TASKS[name].loss,
        "threshold": TASKS[name].threshold,
        "n": 60,
        "n_subjects": n_subjects,
        "success": change(delta, ci),
        "clean": None,
        "hard_negatives": None,
    }


def measured(method: str = "lora", delta: float = 5.0, half: float = 2.0, **changes: Any) -> Row:
    """An edit run whose every task changed by ``delta`` points, ± ``half``, in all three leagues."""
    ci = (delta - half, delta + half)
    over = {"base": 2.0, "edited": 2.25, "delta": 0.25, "ci": (0.125, 0.375), "n": 40, "n_subjects": 40}
    seeds = ({"seed": 0, "candidate": 3, "success": BASE + delta, "ratio": 1.000005, "membership": "in"},)
    chosen = {"standard_error": None, "ratio": 1.000005, "ratio_ci": None, "straddles": None, "membership": "in"}
    chosen |= {"candidate": 3}
    tasks = {name: {**task(name, delta, ci, 30), "hard_negatives": over, **chosen, "seeds": seeds} for name in TASKS}
    hard = {key: over[key] for key in ("base", "edited", "delta", "ci")}
    content = {
        **_frame(),
        "method": method,
        "leagues": {label: {"tasks": tasks, "average": average(delta, ci, hard)} for label in LEAGUES},
    }
    return Row.model_validate(content | changes)


def reported(method: str = "full", delta: float = 3.0, error: float | None = 1.0, **changes: Any) -> Row:
    """A published edit run: every task changed by ``delta``, with a standard error over seeds or without."""
    nothing = dict.fromkeys(("ratio", "ratio_ci", "straddles", "membership", "candidate", "seeds"))
    tasks = {name: {**task(name, delta, None, None), **nothing, "standard_error": error} for name in TASKS}
    frame = _frame()
    general = dict.fromkeys(frame["general"]) | {"name": "openwebtext-500", "leagues": {}}
    content = {
        **frame,
        "state": "reported",
        "provenance": {"source": "a paper", "note": None},
        "protocol": "hewitt2024",
        "suite": {"name": "published", "version": "1", "data_hash": None},
        "fingerprints": {"model": None, "base": None},
        "dtype": "bfloat16",
        "versions": {},
        **dict.fromkeys(("device", "seconds", "peak_memory_bytes", "hyperparameters")),
        "general": general,
        "method": method,
        "leagues": {label: {"tasks": tasks, "average": average(delta, None, None)} for label in LEAGUES},
    }
    return Row.model_validate(content | changes)


def checkpoint(delta: float = 4.0, **changes: Any) -> Row:
    """One model for all six tasks, in the 1e-3 league only."""
    tasks = {name: task(name, delta, (delta - 1, delta + 1), 30) for name in TASKS}
    frame = _frame()
    verdicts = {"1e-3": "in", "1e-4": "uncertain", "1e-5": "out"}
    general = {"edited": 3.0003, "ratio": 1.0001, "ratio_ci": (1.0, 1.0002), "straddles": (), "leagues": verdicts}
    content = {
        **frame,
        "track": "joint",
        "model": {"name": "mine/edited", "source": "hub", "revision": "main"},
        "fingerprints": {"model": "e" * 64, "base": "c" * 64},
        "general": frame["general"] | general,
        "tasks": tasks,
        "average": average(delta, (delta - 1, delta + 1), None),
    }
    return Row.model_validate(content | changes)


def placed(*rows: Row) -> list[PlacedRow]:
    return [PlacedRow(f"some.jsonl:{line}", row) for line, row in enumerate(rows, start=1)]


def with_examples(root: Path, method: str, successes: Sequence[bool], **changes: Any) -> Row:
    """A submitted edit run of one seed and league, and the file under ``root`` that its numbers come from.

    Each task asks two rows about each of half as many subjects; the edited model succeeds where ``successes`` says,
    on every task alike, and the base on every fourth row.
    """
    columns = _columns(successes)
    specs = {name: TaskSpec(each.loss, each.threshold) for name, each in TASKS.items()}
    computed = aggregate_edits(
        columns,
        tasks=specs,
        protocol=PROTOCOLS["canonbench-1"],
        general=GeneralText("mini", "d" * 64),
        choices={"1e-3": {name: {0: 1} for name in TASKS}},
        reported={"1e-3": dict.fromkeys(TASKS, 1)},
    )
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    file = Path("submissions", method, "examples.parquet")
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.cast(pa.schema(list(EDIT_COLUMNS.items()))), root / file)
    sha256 = hashlib.sha256((root / file).read_bytes()).hexdigest()
    content = {
        **_frame(),
        "state": "submitted",
        "submission": method,
        "method": method,
        "examples": {"file": file.as_posix(), "sha256": sha256},
        "general": computed.general,
        "leagues": computed.leagues,
    }
    return Row.model_validate(content | changes)


def _frame() -> dict[str, Any]:
    """What a measured edit run has besides its method and results."""
    compared = {"base": 3.0, "noise_floor": 1e-9, "ratio": None, "ratio_ci": None, "straddles": None, "edited": None}
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
        "track": "per-task",
        "model": {"name": "org/base", "source": "hub", "revision": "main"},
        "base": {"name": "org/base", "source": "hub", "revision": "main"},
        "method": None,
        "hyperparameters": {"lr": 0.001},
        "fingerprints": {"model": None, "base": "c" * 64},
        "dtype": "float32",
        "device": "cpu",
        "versions": {"canonbench": "0.1.0"},
        "seconds": 1.0,
        "peak_memory_bytes": 1,
        "general": {
            **{"name": "mini", "data_hash": "d" * 64, "n_chunks": 2, "n_tokens": 40, **compared},
            "leagues": dict.fromkeys(LEAGUES),
        },
        "tasks": None,
        "average": None,
        "leagues": None,
    }


def _columns(successes: Sequence[bool]) -> dict[str, list[Any]]:
    rows = []
    base = [row % 4 == 0 for row in range(len(successes))]
    for name in TASKS:
        for candidate, edited in ((0, base), (1, successes)):
            for row in range(len(successes)):
                scored = _answer(name, edited[row]), _answer(name, base[row])
                rows.append(_row(name, "evaluation", candidate, row, f"subject {row // 2}", *scored))
            for chunk in range(2):
                nll = 30.0 + chunk
                rows.append(_row(name, "general", candidate, chunk, "", (-nll, NAN, nll), (-nll, NAN, nll)))
    return {key: [row[key] for row in rows] for key in EDIT_COLUMNS}


def _answer(name: str, success: bool) -> tuple[float, float, float]:
    """Log-probabilities of the one or two continuations, and the task's loss: half a nat to one side of δ."""
    loss = TASKS[name].threshold + (-0.25 if success else 0.25)
    match TASKS[name].loss:
        case "nll":
            return -loss, NAN, loss
        case "likelihood":
            return loss, NAN, loss
        case "balance":
            return -2.0, -2.0 - loss, abs(-2.0 - (-2.0 - loss))
        case _:
            return -2.0, -2.0 + loss, (-2.0 + loss) - -2.0


def _row(
    name: str,
    part: str,
    candidate: int,
    index: int,
    subject: str,
    edited: Sequence[float],
    base: Sequence[float],
) -> Mapping[str, Any]:
    again = base[0] if part == "general" else NAN
    return {
        **{"task": name, "part": part, "index": index, "subject": subject, "clean": True, "n_tokens_a": 10},
        **{"base_log_p_a": base[0], "base_log_p_b": base[1], "base_loss": base[2], "base_again_log_p_a": again},
        **{"edited_log_p_a": edited[0], "edited_log_p_b": edited[1], "edited_loss": edited[2]},
        **{"seed": 0, "candidate": candidate},
    }
