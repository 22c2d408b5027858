"""An ensemble by name: its parts are found, checked and named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_cases import edited_copy
from tokenizers import Tokenizer

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import log_likelihoods
from canonbench.models.architecture import readable_ids, vocabulary_size
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.ensemble.load import shared_vocabulary
from canonbench.models.ensemble.model import Ensemble
from canonbench.models.ensemble.parts import Apart, OneTrunk
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, base_name, load_model
from tiny_models import VOCABULARY, save_tiny, tiny_tokenizer

FULL = "transformer.h.1.mlp.c_proj.weight"
PAIRS = [("The town is", " small"), ("In spring he", " came"), ("Nobody", " had seen the river")]


def keep(folder: Path, change: Callable[[Any], object]) -> Path:
    """An artefact of an edit of the model in ``folder``."""
    loaded = load_model(folder, Loading())
    mark = fingerprint(loaded.model)
    with torch.no_grad():
        change(loaded.model)
    target = folder.with_name(f"{folder.name}-edit")
    save_artefact(loaded.model, target, base=loaded.source, base_fingerprint=mark, record={})
    return target


def edit_senses(model: Any) -> None:
    edit = model.edit_senses(torch.tensor([3, 290]), torch.tensor([0, 1]))
    edit.deltas.fill_(0.5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    save_tiny(folder / "large", "llama")
    save_tiny(folder / "small", "gpt2", seed=1)
    save_tiny(folder / "senses", "backpack", seed=2, vocab_size=VOCABULARY + 7)
    save_tiny(folder / "other", "gpt2", tokenizer="bos")
    edited_copy(folder / "small", folder / "whole", tensor=FULL, by=1.5)
    keep(folder / "small", lambda model: model.state_dict()[FULL].mul_(1.5))
    keep(folder / "senses", edit_senses)
    return folder


@pytest.fixture(autouse=True)
def _there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)


def scores(model: Any) -> list[float]:
    return [each.sum for each in log_likelihoods(model, tiny_tokenizer(), PAIRS)]


def test_an_artefact_names_the_small_base(world: Path) -> None:
    loaded = load_model("ensemble:large,small-edit,beta=0.5", Loading())
    assert loaded.source.name == f"ensemble:large,small-edit,base={world / 'small'},beta=0.5"
    assert (loaded.source.kind, loaded.dtype, str(loaded.device)) == ("ensemble", "float32", "cpu")
    parts = [load_model(name, Loading()).model for name in ("large", "whole", "small")]
    assert scores(loaded.model) == scores(Ensemble(parts[0], Apart(*parts[1:]), beta=0.5, vocabulary=360))
    assert base_name("ensemble:large,small-edit") == "large"


def test_a_whole_checkpoint_needs_to_be_told_its_base() -> None:
    named = load_model("ensemble:large,whole,base=small", Loading())
    given = load_model("ensemble:large,whole", Loading(), base="small")
    kept = load_model("ensemble:large,small-edit", Loading())
    assert named.source == given.source
    assert named.source.name == "ensemble:large,whole,base=small,beta=1"
    assert fingerprint(named.model).key == fingerprint(given.model).key == fingerprint(kept.model).key


def test_another_base_can_be_given_in_place_of_the_named_one() -> None:
    over = load_model("ensemble:large,whole,base=large", Loading(), base="small")
    assert fingerprint(over.model).key == fingerprint(load_model("ensemble:large,small-edit", Loading()).model).key


def test_edited_senses_come_with_the_model_that_they_are_an_edit_of() -> None:
    loaded = load_model("ensemble:large,senses-edit", Loading())
    assert isinstance(loaded.model.small, OneTrunk)
    after: Any = loaded.model.small.after
    before = load_model("senses", Loading()).model
    apart = Ensemble(loaded.model.large, Apart(copy.deepcopy(after), before), vocabulary=360)
    np.testing.assert_allclose(scores(loaded.model), scores(apart), rtol=0, atol=1e-5)


def test_only_the_words_of_the_tokenizer_count() -> None:
    model = load_model("ensemble:large,senses-edit", Loading()).model
    assert readable_ids(model) == len(tiny_tokenizer()) < vocabulary_size(model) == VOCABULARY


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("large,whole", "whole is a whole model and does not say what it was before its edit; give that with --base"),
        (
            "large,other,base=small",
            "large and other have different vocabularies: token 0 is '<|endoftext|>' in the one",
        ),
        ("large,whole,base=other", "large and other have different vocabularies"),
        ("large,gone-edit/,base=small", "gone-edit"),
        ("./gone,small-edit", "no model at './gone'"),
        ("large,whole,base=./gone", "no model at './gone'"),
        ("large,small-edit,base=whole", "whole is not the model that small-edit is an edit of"),
        ("large,small-edit,beta=auto", "beta is chosen by 'canonbench evaluate --split val' alone"),
    ],
)
def test_parts_that_are_not_there_or_do_not_fit_are_one_line(name: str, says: str) -> None:
    with pytest.raises(CanonbenchError) as caught:
        load_model(f"ensemble:{name}", Loading())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_edit_whose_base_has_moved_says_where_it_was(tmp_path: Path) -> None:
    folder = keep(save_tiny(tmp_path / "moving", "gpt2"), lambda model: model.state_dict()[FULL].mul_(1.5))
    (tmp_path / "moving").rename(tmp_path / "moved")
    with pytest.raises(CanonbenchError, match=r"no model at '.*/moving'"):
        load_model(f"ensemble:large,{folder}", Loading())
    load_model(f"ensemble:large,{folder},base={tmp_path / 'moved'}", Loading())


NAMES = ("one", "other")


def test_tokens_that_were_added_to_one_stand_behind_what_is_shared() -> None:
    plain, padded = tiny_tokenizer(), tiny_tokenizer()
    padded.add_tokens([f"<|extratoken_{number}|>" for number in range(5)])
    size = len(plain)
    assert len(padded) == size + 5
    for pair in ((plain, padded), (padded, plain), (padded, padded)):
        assert shared_vocabulary(*pair, NAMES) == (size if plain in pair else size + 5)


def test_the_same_words_cut_differently_are_another_tokenizer() -> None:
    other = tiny_tokenizer()
    text = other.backend_tokenizer.to_str().replace('"add_prefix_space":false', '"add_prefix_space":true')
    other._tokenizer = Tokenizer.from_str(text)
    with pytest.raises(CanonbenchError, match=r"one and other have different tokenizers: they cut .The capital of"):
        shared_vocabulary(tiny_tokenizer(), other, NAMES)


def test_one_swapped_pair_of_words_is_another_vocabulary() -> None:
    other = tiny_tokenizer()
    content = json.loads(other.backend_tokenizer.to_str())
    words = content["model"]["vocab"]
    words["!"], words["?"] = words["?"], words["!"]
    other._tokenizer = Tokenizer.from_str(json.dumps(content))
    with pytest.raises(CanonbenchError, match=r"token 1 is '!' in the one and '\?' in the other"):
        shared_vocabulary(tiny_tokenizer(), other, NAMES)
