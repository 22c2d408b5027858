"""Canonical examples in front: which, how written, how tokenised, and whether they fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from canonbench.editing.contract import EditRequest
from canonbench.editing.method import find_method
from canonbench.editing.methods.in_context import InContextSettings, edit, lines
from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import log_likelihoods
from canonbench.likelihood.route import reference_log_probs
from canonbench.likelihood.tokens import Request
from canonbench.suite.example import Example
from tiny_models import CONTEXT, TOKENIZERS, TokenizerKind, tiny_model, tiny_tokenizer

ANSWERS = [Example("The capital of France is", " Paris"), Example("The capital of Japan is", " Tokyo")]
PAIRS = [Example("The nurse said", " he", " she"), Example("The miner said", " he", " she")]


def request(
    canonical: list[Example] = ANSWERS, loss: str = "nll", seed: int = 0, texts: tuple[str, ...] = (), **settings: Any
) -> EditRequest[InContextSettings]:
    return EditRequest("country", loss, canonical, texts, seed, InContextSettings(**settings))


def test_it_is_a_built_in_method_with_typed_settings() -> None:
    method = find_method("in-context")
    assert method.edit is edit
    assert method.settings is InContextSettings


@pytest.mark.parametrize(
    ("loss", "canonical", "shown"),
    [
        ("nll", ANSWERS[:1], [("The capital of France is", " Paris\n")]),
        ("preference", PAIRS[:1], [("The nurse said", " he\n")]),
        ("balance", PAIRS[:1], [("The nurse said", " he\n"), ("The nurse said", " she\n")]),
        ("likelihood", ANSWERS[:1], [("The capital of France is", "\n")]),
    ],
)
def test_each_loss_shows_what_it_wants(loss: str, canonical: list[Example], shown: list[tuple[str, str]]) -> None:
    assert sorted(lines(canonical, loss, InContextSettings(), seed=0)) == shown


def test_the_stereotype_is_never_shown() -> None:
    wrapper = edit(tiny_model("llama"), tiny_tokenizer(), request(loss="likelihood"))
    assert "Paris" not in wrapper.text
    assert wrapper.text.count("is\n") == 2


def test_both_orders_of_a_pair_occur() -> None:
    canonical = [Example(f"Person {number} said", " he", " she") for number in range(20)]
    shown = lines(canonical, "balance", InContextSettings(shots=20), seed=0)
    assert len(shown) == 40
    firsts = {continuation for _, continuation in shown[::2]}
    assert firsts == {" he\n", " she\n"}
    assert all(shown[i][0] == shown[i + 1][0] and shown[i][1] != shown[i + 1][1] for i in range(0, 40, 2))


def test_examples_are_drawn_by_the_seed_without_repetition() -> None:
    canonical = [Example(f"Prefix {number}", " a") for number in range(30)]
    drawn = {seed: tuple(lines(canonical, "nll", InContextSettings(shots=5), seed)) for seed in range(5)}
    assert drawn[3] == tuple(lines(canonical, "nll", InContextSettings(shots=5), 3))
    assert len(set(drawn.values())) == 5
    assert all(len(set(each)) == 5 for each in drawn.values())
    assert len(lines(canonical, "nll", InContextSettings(shots=31), 0)) == 30


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_context_is_tokenised_piece_by_piece_and_begins_with_bos(kind: TokenizerKind) -> None:
    tokenizer = tiny_tokenizer(kind)
    wrapper = edit(tiny_model("llama"), tokenizer, request(separator="\n", shots=2))
    expected = [0] if "bos" in kind or kind == "sentencepiece" else []
    for prefix, continuation in lines(ANSWERS, "nll", InContextSettings(), seed=0):
        text = continuation.removeprefix(" ") if kind == "sentencepiece" else continuation
        for piece in (prefix, text):
            expected += tokenizer(piece, add_special_tokens=False)["input_ids"]
    assert wrapper.context_ids.tolist() == expected
    assert wrapper.num_context_tokens == len(expected)


@pytest.mark.parametrize("kind", ["plain", "bos"])
def test_what_follows_is_tokenised_as_without_a_context(kind: TokenizerKind) -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer(kind)
    wrapper = edit(model, tokenizer, request())
    (found,) = log_likelihoods(wrapper, tokenizer, [("The capital of Chad is", " near")])
    front, bos = wrapper.context_ids.tolist(), [0] if kind == "bos" else []
    prefix = front + bos + tokenizer("The capital of Chad is", add_special_tokens=False)["input_ids"]
    ids = prefix + tokenizer(" near", add_special_tokens=False)["input_ids"]
    (truth,) = reference_log_probs(model, [Request(tuple(ids), len(prefix))])
    np.testing.assert_allclose(found.tokens, truth, rtol=0, atol=1e-5)


def test_the_context_leaves_room_for_the_longest_text() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    front = edit(model, tokenizer, request()).num_context_tokens
    fits = "x" * (CONTEXT - front)
    assert edit(model, tokenizer, request(texts=("short", fits))).num_context_tokens == front
    with pytest.raises(CanonbenchError) as caught:
        edit(model, tokenizer, request(texts=("short", fits + "x")))
    assert str(caught.value) == (
        f"{front} tokens of examples in front leave {CONTEXT - front} of the model's {CONTEXT}, but texts have up to "
        f"{CONTEXT - front + 1}; set shots below {len(request().canonical)}"
    )
    with pytest.raises(CanonbenchError, match=f"leave 0 of the model's {CONTEXT}"):
        edit(
            model, tokenizer, request([Example(f"The capital of France is {n}", " Paris") for n in range(99)], shots=99)
        )


def test_without_canonical_examples_there_is_nothing_to_put_in_front() -> None:
    with pytest.raises(CanonbenchError, match="task country: no canonical examples"):
        edit(tiny_model("gpt2"), tiny_tokenizer(), request([]))


def test_no_weight_is_changed() -> None:
    model = tiny_model("llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    edit(model, tiny_tokenizer(), request())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
