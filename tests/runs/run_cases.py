"""A small suite on disk and edited copies of a tiny checkpoint, for the tests of whole runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save_file

PLACES = ["Chad", "Peru", "Iran", "Mali", "Cuba", "Fiji", "Oman", "Togo", "Laos", "Iraq", "Niue", "Guam"]
JOBS = ["nurse", "pilot", "baker", "judge", "tailor", "miner"]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_suite(folder: Path, *, chunks: int = 8, copies: int = 1) -> Path:
    """Three tasks (one continuation, a pair, one of your own) and general text; ``copies`` makes it larger."""
    facts = [(place, number) for number in range(copies) for place in PLACES]
    answers = [
        {"prefix": f"In year {number} of {place} the town was", "suffix": f" {place[::-1]}", "subject": place}
        for place, number in facts
    ]
    pairs = [
        {"prefix": f"The {job} came in {number} times because", "suffix1": " he", "suffix2": " she", "subject": job}
        for job in JOBS
        for number in range(copies)
    ]
    for split in ("val", "test"):
        for task, rows in (("country", answers), ("gender", pairs), ("mine", answers[::2])):
            jsonl(folder / f"{task}/{split}-canonical.jsonl", rows[:3])
            jsonl(folder / f"{task}/{split}-evaluation.jsonl", rows)
            hard = [{"prefix": row["prefix"] + " not", "suffix": " it", "subject": row["subject"]} for row in rows]
            jsonl(folder / f"{task}/{split}-hard_negatives.jsonl", hard)
    for part, first in (("val", 0), ("test", 100), ("regularization", 200)):
        numbers = range(first, first + chunks)
        texts = [
            f"<|endoftext|>Chunk {number} tells of {PLACES[number % 12]} and of nothing else." for number in numbers
        ]
        jsonl(folder / f"general/{part}.jsonl", [{"text": text} for text in texts])
    parts = ("canonical", "evaluation", "hard_negatives")
    tasks: dict[str, Any] = {
        task: {split: {part: f"{task}/{split}-{part}.jsonl" for part in parts} for split in ("val", "test")}
        for task in ("country", "gender", "mine")
    }
    tasks["mine"] |= {"loss": "likelihood", "threshold": -9.0}
    general = {part: f"general/{part}.jsonl" for part in ("val", "test", "regularization")}
    spec = {"name": "small", "tasks": tasks, "general": {"chunks": general}}
    (folder / "suite.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return folder


DOWN = "model.layers.1.mlp.down_proj.weight"


def edited_copy(source: Path, target: Path, *, tensor: str = DOWN, by: float = 1.01) -> Path:
    """A copy of a checkpoint with one tensor scaled."""
    shutil.copytree(source, target)
    weights = load_file(target / "model.safetensors")
    weights[tensor] = weights[tensor] * by
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target
