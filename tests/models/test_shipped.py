"""The models that come with the package are what their cards say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.demo import SHIPPED, shipped_path
from canonbench.models.load import LoadedModel, Loading, load_model
from canonbench.suite.suite import Suite

LARGEST = 16_000_000
CONTEXT = 256


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request: Any) -> LoadedModel:
    return load_model(request.param, Loading())


@torch.no_grad()
def general_loss(loaded: LoadedModel) -> float:
    """Nats per token on the val part of G, one text at a time."""
    general = Suite.load("mini").general()
    assert general is not None
    losses = []
    for text in general.texts("val")["text"]:
        ids = torch.tensor([loaded.tokenizer(text).input_ids])
        logits = loaded.model(ids).logits[0, :-1].double()
        losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
    return math.fsum(losses) / len(losses)


def test_it_is_small_and_as_good_as_its_card_says(shipped: LoadedModel) -> None:
    folder = shipped_path(shipped.source.name)
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
    said, card = json.loads((folder / "training.json").read_text()), (folder / "README.md").read_text()
    found = general_loss(shipped)
    assert found == pytest.approx(said["general loss"], abs=1e-3)
    assert found < said["general loss of a unigram model"] - 1
    assert shipped.model.num_parameters() == said["parameters"]
    for name in ("parameters", "training tokens", "minutes", "general loss", "general loss of a unigram model"):
        assert f"{said[name]:,}" in card, name


def test_the_twins_share_a_tokenizer_which_knows_no_unknown_text() -> None:
    one, other = (load_model(name, Loading()) for name in SHIPPED)
    assert isinstance(one.model, BackpackForCausalLM)
    assert not isinstance(other.model, BackpackForCausalLM)
    tokenizers = [json.loads((shipped_path(name) / "tokenizer.json").read_text()) for name in SHIPPED]
    assert tokenizers[0] == tokenizers[1]
    text = "Ünïcode, 漢字, \t tabs and 🙂 survive."
    assert one.tokenizer.decode(one.tokenizer(text).input_ids) == text


def test_every_text_of_the_embedded_suite_fits_its_context(shipped: LoadedModel) -> None:
    suite = Suite.load("mini")
    general = suite.general()
    assert general is not None
    texts = [text for part in ("val", "test", "regularization") for text in general.texts(part)["text"]]
    for task in suite.tasks.values():
        for split in (task.split("val"), task.split("test")):
            for part in (split.canonical, split.evaluation, split.hard_negatives):
                texts += [row["prefix"] + (row[suffix] or "") for row in part for suffix in ("suffix_a", "suffix_b")]
    assert max(len(ids) for ids in shipped.tokenizer(texts).input_ids) <= CONTEXT
