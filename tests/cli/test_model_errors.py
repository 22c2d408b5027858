"""A checkpoint that cannot be scored: one line that names what is wrong with it, exit code 1, no row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_cases import MODEL, Canonbench, damaged
from run_cases import DOWN
from safetensors.torch import load_file, save_file

from tiny_models import save_tiny

WEIGHTS = "model.safetensors"


def cut(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[:-1000])


def poison(model: Path, value: float) -> None:
    weights = load_file(model / WEIGHTS)
    weights[DOWN][3, 5] = value
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})


def pickled(model: Path) -> None:
    torch.save(load_file(model / WEIGHTS), model / "pytorch_model.bin")
    (model / WEIGHTS).unlink()


def without_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


def short_context(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 16}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (cut, "model damaged: a safetensors file is corrupt or truncated"),
    "garbage for weights": (lambda m: (m / WEIGHTS).write_bytes(b"not safetensors" * 99), "corrupt or truncated"),
    "empty weights": (lambda m: (m / WEIGHTS).write_bytes(b""), "corrupt or truncated"),
    "no weights": (lambda m: (m / WEIGHTS).unlink(), "damaged holds no weights"),
    "pickle only": (pickled, "(pytorch_model.bin); convert them with save_pretrained, or pass --allow-pickle"),
    "no tokenizer": (without_tokenizer, "damaged has no tokenizer; put the model's there"),
    "no config": (lambda m: (m / "config.json").unlink(), "damaged holds neither config.json nor adapter_config.json"),
    "broken config": (lambda m: (m / "config.json").write_text('{"a": '), "damaged/config.json:1:7: not valid JSON"),
    "a NaN weight": (lambda m: poison(m, float("nan")), f"weight {DOWN!r} holds NaN or infinite values"),
    "an infinite weight": (lambda m: poison(m, float("inf")), f"weight {DOWN!r} holds NaN or infinite values"),
    "a short context": (short_context, "test-evaluation.jsonl:1: 21 tokens, but the model's context is 16"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_checkpoint_that_cannot_be_scored_is_named(
    canonbench: Canonbench, world: Path, damage: Callable[[Path], object], says: str
) -> None:
    damaged(world / "base", world / "damaged", damage)
    outcome = canonbench(*MODEL, "damaged")
    assert outcome.code == 1
    assert says in outcome.error
    assert not outcome.out
    assert not list(world.glob("canonbench-runs/*/row.json"))


def test_of_two_models_the_bad_one_is_named(canonbench: Canonbench, world: Path) -> None:
    damaged(world / "base", world / "damaged", lambda model: poison(model, float("nan")))
    for roles in (("--model", "edited", "--base", "damaged"), ("--model", "damaged", "--base", "base")):
        assert "(model damaged)" in canonbench("evaluate", *roles, "--suite", "suite").error


def test_a_pickle_is_read_where_it_is_allowed(canonbench: Canonbench, world: Path) -> None:
    damaged(world / "base", world / "damaged", pickled)
    outcome = canonbench(*MODEL, "damaged", "--task", "gender", "--general", "none", "--allow-pickle")
    assert outcome.code == 0, outcome.err


def test_a_folder_without_a_model_is_told_apart_from_one_that_is_not_there(canonbench: Canonbench, world: Path) -> None:
    (world / "folder").mkdir()
    assert "folder holds neither config.json" in canonbench(*MODEL, "folder").error
    outcome = canonbench(*MODEL, "floder")
    assert "there is none at 'floder'" in outcome.error


def test_a_hub_id_needs_the_network_that_is_forbidden(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench(*MODEL, "org/name@v1")
    assert outcome.code == 1
    assert "fetching model org/name@v1 from the Hugging Face hub needs the network" in outcome.error
    assert "CANONBENCH_OFFLINE=1 forbids it; unset it" in outcome.error
    assert "fetching the demo model" in canonbench(*MODEL, "demo").error


def test_base_and_edited_must_differ_in_weights(canonbench: Canonbench, world: Path) -> None:
    damaged(world / "base", world / "copy", lambda _model: None)
    for base in ("base", "copy"):
        outcome = canonbench(*MODEL, "base", "--base", base)
        assert outcome.code == 1
        assert "base and edited model are the same" in outcome.error
        assert "there is no edit to evaluate" in outcome.error


@pytest.mark.parametrize(
    ("tokenizer", "rows", "says"),
    [("plain", 384, "tokenise suite/country/test-evaluation.jsonl:1 differently"), ("bos", 400, "400 output rows")],
)
def test_a_vocabulary_mismatch_is_refused(
    canonbench: Canonbench, world: Path, tokenizer: str, rows: int, says: str
) -> None:
    save_tiny(world / "other", "llama", seed=1, tokenizer=tokenizer, vocab_size=rows)  # type: ignore[arg-type]
    outcome = canonbench(*MODEL, "other", "--base", "base")
    assert outcome.code == 1
    assert "vocabulary mismatch" in outcome.error
    assert says in outcome.error
