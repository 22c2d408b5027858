"""From text to ids: what a tokenizer adds, what the protocol keeps of it, and what is refused."""

from __future__ import annotations

import pytest
from likelihood_cases import model_of

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import log_likelihoods, plan
from canonbench.likelihood.tokens import Encoder, Request
from tiny_models import CONTEXT, TOKENIZERS, VOCABULARY, TokenizerKind, tiny_tokenizer

BOS, EOS = 0, 1


def ids_of(kind: TokenizerKind, text: str) -> tuple[int, ...]:
    return tuple(tiny_tokenizer(kind)(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    ("kind", "before"), [("plain", ()), ("bos", (BOS,)), ("eos", ()), ("bos+eos", (BOS,)), ("sentencepiece", (BOS,))]
)
def test_a_beginning_of_sequence_is_kept_and_an_end_never(kind: TokenizerKind, before: tuple[int, ...]) -> None:
    (request,) = Encoder.of(tiny_tokenizer(kind)).pairs([("The keys", " are")])
    assert request.ids[: len(before)] == before
    assert EOS not in request.ids
    assert request.start == len(before) + len(ids_of(kind, "The keys"))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prefix_and_continuation_are_tokenised_apart(kind: TokenizerKind) -> None:
    (request,) = Encoder.of(tiny_tokenizer(kind)).pairs([("The capi", "tal of")])
    before = (BOS,) if kind in ("bos", "bos+eos", "sentencepiece") else ()
    assert request.ids == (*before, *ids_of(kind, "The capi"), *ids_of(kind, "tal of"))


def test_a_sentencepiece_continuation_loses_one_leading_space() -> None:
    encoder = Encoder.of(tiny_tokenizer("sentencepiece"))
    assert encoder.lone_space
    (one,) = encoder.pairs([("She", " said")])
    (none,) = encoder.pairs([("She", "said")])
    assert one == none
    (two,) = encoder.pairs([("She", "  said")])
    assert two != one


@pytest.mark.parametrize("kind", ["plain", "bos", "eos"])
def test_other_tokenizers_keep_the_leading_space(kind: TokenizerKind) -> None:
    encoder = Encoder.of(tiny_tokenizer(kind))
    assert not encoder.lone_space
    (request,) = encoder.pairs([("She", " said")])
    assert request.ids[request.start :] == ids_of(kind, " said")


def test_zero_tokens_are_an_error_that_names_the_row() -> None:
    encoder = Encoder.of(tiny_tokenizer("plain"))
    with pytest.raises(CanonbenchError, match=r"a\.jsonl:2: the prefix '' has no tokens"):
        encoder.pairs([("x", "y"), ("", " y")], ["a.jsonl:1", "a.jsonl:2"])
    with pytest.raises(CanonbenchError, match=r"a\.jsonl:1: the continuation '' has no tokens"):
        encoder.pairs([("x", "")], ["a.jsonl:1"])
    with pytest.raises(CanonbenchError, match=r"g\.jsonl:4: a chunk of 0 tokens"):
        encoder.texts([""], ["g.jsonl:4"])


def test_an_empty_prefix_is_a_question_where_the_tokenizer_adds_bos() -> None:
    (request,) = Encoder.of(tiny_tokenizer("bos")).pairs([("", " y")])
    assert request.start == 1
    assert request.ids[0] == BOS


def test_a_sequence_beyond_the_context_is_an_error_that_names_the_row() -> None:
    model = model_of("llama")
    fits, too_long = Request((5,) * CONTEXT, 1), Request((5,) * (CONTEXT + 1), 1)
    assert plan(model, [fits])
    with pytest.raises(CanonbenchError, match=rf"b\.jsonl:9: {CONTEXT + 1} tokens.* context is {CONTEXT}"):
        plan(model, [fits, too_long], origins=["b.jsonl:8", "b.jsonl:9"])


def test_a_model_without_a_context_limit_takes_any_length() -> None:
    assert plan(model_of("mamba"), [Request((5,) * (CONTEXT + 1), 1)])


def test_an_id_outside_the_vocabulary_is_an_error_that_names_the_row() -> None:
    with pytest.raises(CanonbenchError, match=rf"item 0: token id {VOCABULARY} is outside"):
        plan(model_of("llama"), [Request((1, VOCABULARY), 1)])


def test_the_separator_becomes_the_tokenizers_own_and_a_leading_one_is_not_doubled() -> None:
    text = "<|endoftext|>She said<|endoftext|>He"
    (with_bos,) = Encoder.of(tiny_tokenizer("bos")).texts([text])
    assert with_bos == Request((BOS, *ids_of("bos", "She said"), BOS, *ids_of("bos", "He")), 1)
    (without,) = Encoder.of(tiny_tokenizer("plain")).texts([text])
    assert without == Request((0, *ids_of("plain", "She said"), 0, *ids_of("plain", "He")), 1)


def test_the_separator_is_stripped_where_the_tokenizer_has_neither_bos_nor_eos() -> None:
    tokenizer = tiny_tokenizer("plain")
    tokenizer.bos_token = tokenizer.eos_token = None
    (request,) = Encoder.of(tokenizer).texts(["She said<|endoftext|>He"])
    assert request.ids == (*ids_of("plain", "She said"), *ids_of("plain", "He"))


def test_nothing_to_ask_is_nothing_answered() -> None:
    assert log_likelihoods(model_of("llama"), tiny_tokenizer(), []) == []
