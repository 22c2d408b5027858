"""Which senses are shown, in which order, and by which words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from run_cases import jsonl, write_suite

from canonbench.board.sense_picture import ShownSense, Word
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.runs.senses import sense_words, spelled
from tiny_models import save_tiny, tiny_tokenizer

SETTINGS = {"k": 3, "penalty": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Backpack, and a suite in which a task's canonical examples differ from split to split."""
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", chunks=3)
    jsonl(folder / "suite/country/test-canonical.jsonl", [{"prefix": "Zebras", "suffix": " xyz", "subject": "z"}])
    save_tiny(folder / "base", "backpack", tokenizer="bos")
    return folder


def shown(world: Path, model: Path | None = None, **options: Any) -> tuple[list[ShownSense], list[str]]:
    """What is shown for ``country``, and what is said."""
    said: list[str] = []
    found = sense_words(model or world / "base", "country", suite=world / "suite", say=said.append, **options)
    return found, said


def texts(words: list[Word]) -> list[str]:
    return [word.text for word in words]


def kept(world: Path, folder: Path, places: Mapping[tuple[int, int], int], record: Mapping[str, Any]) -> Path:
    """An artefact of an edit by which each of the senses, by token and number, says one token above all."""
    loaded = load_model(world / "base", Loading())
    mark = fingerprint(loaded.model)
    token_ids, sense_ids = torch.tensor(list(places)).T
    with torch.no_grad():
        says = loaded.model.lm_head.weight[list(places.values())]
        loaded.model.edit_senses(token_ids, sense_ids).deltas.copy_(500 * says / says.norm(dim=1, keepdim=True) ** 2)
    save_artefact(loaded.model, folder, base=loaded.source, base_fingerprint=mark, record=record)
    return folder


def test_senses_come_by_falling_importance_and_are_those_that_training_would_choose(world: Path) -> None:
    found, _ = shown(world, settings=SETTINGS)
    importance = [each.importance for each in found]
    assert None not in importance
    assert importance == sorted(importance, reverse=True)  # type: ignore[type-var]
    assert len({(each.token_id, each.sense) for each in found}) == len(found) >= 3
    assert all(each.after is None for each in found)
    more, _ = shown(world, settings={**SETTINGS, "k": 5})
    assert {(each.token_id, each.sense) for each in found} < {(each.token_id, each.sense) for each in more}


def test_the_words_are_those_of_the_highest_logits_of_the_sense_alone(world: Path) -> None:
    found, _ = shown(world, settings=SETTINGS, words=4)
    loaded = load_model(world / "base", Loading())
    with torch.no_grad():
        logits = (
            loaded.model.senses(torch.tensor([found[0].token_id]))[0, found[0].sense] @ loaded.model.lm_head.weight.T
        )
    ids = logits[: len(loaded.tokenizer)].argsort(descending=True)[:4]
    assert [word.token_id for word in found[0].before] == ids.tolist()
    assert [word.logit for word in found[0].before] == pytest.approx(logits[ids].tolist(), rel=1e-5)
    assert [word.text for word in found[0].before] == [spelled(loaded.tokenizer, word) for word in ids.tolist()]


def test_the_words_after_come_from_the_edit(world: Path, tmp_path: Path) -> None:
    chosen, _ = shown(world, settings=SETTINGS)
    (first, second) = ((each.token_id, each.sense) for each in chosen[:2])
    unchosen = (350, 2)
    places = {first: 71, second: 72, unchosen: 73}
    found, said = shown(world, kept(world, tmp_path / "edit", places, {"task": "country", "hyperparameters": SETTINGS}))
    assert [(each.token_id, each.sense) for each in found] == [first, second, unchosen]
    assert [each.importance for each in found] == [chosen[0].importance, chosen[1].importance, None]
    assert [texts(each.before) for each in found[:2]] == [texts(each.before) for each in chosen[:2]]
    assert [each.after[0].token_id for each in found if each.after] == [71, 72, 73]
    for each, token in zip(found, (71, 72, 73), strict=True):
        plain = next((word.logit for word in each.before if word.token_id == token), None)
        assert each.after
        assert plain is None or each.after[0].logit == pytest.approx(plain + 500, rel=1e-4)
    assert said == ["suite small, val split, country; general text chunks"]


def test_an_edit_is_shown_by_the_examples_and_settings_that_it_was_made_with(world: Path, tmp_path: Path) -> None:
    made = {"task": "country", "split": "test", "seed": 0, "hyperparameters": {**SETTINGS, "lr": 0.1}}
    on_test, _ = shown(world, split="test", settings=SETTINGS)
    places = {(each.token_id, each.sense): 70 for each in on_test}
    edit = kept(world, tmp_path / "edit", places, made)
    found, said = shown(world, edit)
    assert [each.importance for each in found] == [each.importance for each in on_test]
    assert said == ["suite small, test split, country; general text chunks"]
    on_val, _ = shown(world, edit, split="val")
    assert [each.importance for each in on_val] != [each.importance for each in on_test]
    none_chosen, _ = shown(world, edit, settings={"k": 1})
    assert [each.importance for each in none_chosen][1:] == [None] * (len(places) - 1)


def test_of_merged_edits_the_part_of_the_task_says_how_it_was_made(world: Path, tmp_path: Path) -> None:
    part = {
        "method": "senses", "candidate": 1, "fingerprint": "", "run": None, "own": None,
        "task": "gender", "split": "val", "seed": 0, "hyperparameters": {},
    }  # fmt: skip
    own = {**part, "task": "country", "split": "test", "hyperparameters": SETTINGS}
    merged = {"how": "union", "density": None, "rank": None, "seed": None, "league": None, "unedited": []}
    on_test, _ = shown(world, split="test", settings=SETTINGS)
    places = {(each.token_id, each.sense): 70 for each in on_test}
    edit = kept(world, tmp_path / "edit", places, {"merged": {**merged, "edits": [part, own]}})
    found, _ = shown(world, edit)
    assert [each.importance for each in found] == [each.importance for each in on_test]


def test_an_edit_for_another_task_is_said_to_be_one(world: Path, tmp_path: Path) -> None:
    edit = kept(world, tmp_path / "edit", {(350, 2): 70}, {"task": "gender", "split": "test", "hyperparameters": {}})
    found, said = shown(world, edit, settings=SETTINGS)
    assert [each.importance for each in found] == [None]
    assert said[0] == "suite small, val split, country; general text chunks"
    assert f"{edit} was not edited for country" in said[1]


@pytest.mark.parametrize("kind", ["plain", "sentencepiece"])
def test_tokens_are_spelled_for_people(kind: Any) -> None:
    tokenizer = tiny_tokenizer(kind)
    ids = tokenizer(" capital capital", add_special_tokens=False).input_ids
    text = "".join(spelled(tokenizer, token) for token in ids)
    assert text.lstrip("_") == "capital_capital" if kind == "sentencepiece" else text == "_capital_capital"


def test_what_cannot_be_seen_is_escaped_and_bytes_of_a_character_are_told_apart() -> None:
    tokenizer = tiny_tokenizer("plain")
    by_piece = {"Ċ": "\\n", "Ġ": "_", "ä": "ä", "å": "å", "<|endoftext|>": "<|endoftext|>", "A": "A"}
    found = {piece: spelled(tokenizer, tokenizer.convert_tokens_to_ids(piece)) for piece in by_piece}
    assert found == by_piece
    every = [spelled(tokenizer, token) for token in range(len(tokenizer))]
    assert len(set(every)) == len(every) - 1  # a space and an underscore look alike
    assert all(each and each.isprintable() for each in every)
