"""``canonbench convert-backpack`` from the command line, and what it writes in the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_cases import Canonbench

from canonbench.models.fingerprint import fingerprint
from tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture
def published(world: Path) -> None:
    """``world/published`` and ``world/tokenizer``; what a published folder may hold is in test_backpack_convert."""
    model = tiny_model("backpack")
    (world / "published").mkdir()
    torch.save(model.state_dict(), world / "published/pytorch_model.bin")
    config = model.config.to_diff_dict() | {"model_type": "gpt2", "auto_map": {"AutoModel": "code.Model"}}
    (world / "published/config.json").write_text(json.dumps(config), encoding="utf-8")
    tiny_tokenizer("bos").save_pretrained(world / "tokenizer")


@pytest.mark.usefixtures("published")
def test_a_published_backpack_is_converted_and_then_evaluated(canonbench: Canonbench, world: Path) -> None:
    outcome = canonbench("convert-backpack", "published", "new/backpack", "--tokenizer", "tokenizer")
    count = sum(parameter.numel() for parameter in tiny_model("backpack").parameters())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"new/backpack\n{count:,} parameters, the published one has 170,083,584\n"
    options = ("--suite", "suite", "--task", "gender", "--json", "--quiet")
    row = json.loads(canonbench("evaluate", "--model", "new/backpack", *options).out)
    assert row["model"] == {"name": "new/backpack", "source": "folder", "revision": None}
    assert row["fingerprints"]["model"] == fingerprint(tiny_model("backpack")).key
    assert list(row["tasks"]) == ["gender"]
    assert canonbench("convert-backpack", "published", "quiet", "--tokenizer", "tokenizer", "-q").out == ""


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("published",), 2, "Missing argument 'DST'"),
        (("published", "base"), 2, "base is there already; give a new or empty folder"),
        (("published", "new"), 2, "published has no tokenizer; give GPT-2's with --tokenizer"),
        (("base", "new"), 1, "is that of a llama; a published Backpack calls itself gpt2"),
        (("./gone", "new"), 2, "no model at './gone'"),
        (("published", "new", "--tokenizer", "./gone"), 2, "--tokenizer ./gone: there is no such folder"),
        (("some/model", "new"), 1, "needs the network, but CANONBENCH_OFFLINE=1 forbids it"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    canonbench: Canonbench, world: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    outcome = canonbench("convert-backpack", *arguments)
    assert outcome.code == code
    assert says in outcome.error
    assert not (world / "new").exists()
