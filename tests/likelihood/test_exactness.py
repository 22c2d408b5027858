"""The engine says what a float64 forward, one sequence at a time, says: on every architecture."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from likelihood_cases import FAMILIES, TOLERANCE, exact, model_of, questions

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import log_likelihoods, plan, score
from canonbench.likelihood.route import reference_log_probs, route
from canonbench.likelihood.tokens import Encoder, Request
from tiny_models import TOKENIZERS, tiny_tokenizer


def answers(model: Any, requests: list[Request], **how: Any) -> dict[int, Any]:
    return {index: values for pack in plan(model, requests, **how) for index, values in score(model, pack)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 96, None])
def test_the_engine_equals_the_float64_reference(family: str, batch_tokens: int | None) -> None:
    model, requests = model_of(family), questions()
    found = answers(model, requests, batch_tokens=batch_tokens)
    assert sorted(found) == list(range(len(requests)))
    for index, truth in enumerate(exact(model, requests)):
        assert found[index].dtype == np.float64
        np.testing.assert_allclose(found[index], truth, rtol=0, atol=TOLERANCE, err_msg=f"request {index}")


def test_edited_senses_are_scored_by_the_same_fast_way() -> None:
    plain, requests = model_of("backpack"), questions()
    model = copy.deepcopy(plain)
    words = sorted({token for ids, _ in requests for token in ids})[::3]
    edit = model.edit_senses(torch.tensor(words), torch.tensor([word % 4 for word in words]))
    edit.deltas.data.normal_(generator=torch.Generator().manual_seed(0))
    assert route(model) == route(plain) == ("tree", "linear")
    found = answers(model, requests, batch_tokens=96)
    for index, truth in enumerate(exact(model, requests)):
        np.testing.assert_allclose(found[index], truth, rtol=0, atol=TOLERANCE, err_msg=f"request {index}")
    before = answers(plain, requests, batch_tokens=96)
    assert max(np.abs(found[index] - before[index]).max() for index in found) > 0.1


@pytest.mark.parametrize("family", ["llama", "gemma2", "mamba"])
def test_general_text_is_scored_at_every_position_but_the_first(family: str) -> None:
    model, tokenizer = model_of(family), tiny_tokenizer("bos")
    texts = ["The keys are on the table.", "<|endoftext|>She said so.<|endoftext|>He did not."] * 3
    requests = Encoder.of(tokenizer).texts(texts)
    found = answers(model, requests, batch_tokens=64)
    for index, truth in enumerate(exact(model, requests)):
        assert found[index].shape == (len(requests[index].ids) - 1,)
        np.testing.assert_allclose(found[index], truth, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pairs_of_texts_are_scored_as_the_protocol_tokenises_them(kind: str) -> None:
    model, tokenizer = model_of("llama"), tiny_tokenizer(kind)  # type: ignore[arg-type]
    pairs = [("The nurse said that", " she was late"), ("The nurse said that", " he was late"), ("Paris", " is")]
    results = log_likelihoods(model, tokenizer, pairs)
    for (prefix, continuation), result in zip(pairs, results, strict=True):
        text = continuation.removeprefix(" ") if kind == "sentencepiece" else continuation
        ids = tokenizer(prefix, add_special_tokens=False)["input_ids"]
        ids = ([0] if "bos" in kind or kind == "sentencepiece" else []) + ids
        tail = tokenizer(text, add_special_tokens=False)["input_ids"]
        (truth,) = exact(model, [Request((*ids, *tail), len(ids))])
        np.testing.assert_allclose(result.tokens, truth, rtol=0, atol=TOLERANCE)
        assert result.sum == pytest.approx(truth.sum(), abs=TOLERANCE * len(tail))


def test_the_reference_in_float32_is_itself_within_the_tolerance() -> None:
    model, requests = model_of("llama"), questions()
    for mine, truth in zip(reference_log_probs(model, requests), exact(model, requests), strict=True):
        np.testing.assert_allclose(mine, truth, rtol=0, atol=TOLERANCE)


def test_a_model_with_a_broken_weight_is_an_error_that_names_the_row() -> None:
    from tiny_models import tiny_model

    model = tiny_model("llama", seed=3)
    model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(CanonbenchError, match=r"rows\.jsonl:7: the model's logits are NaN or infinite"):
        log_likelihoods(model, tiny_tokenizer(), [("a", " b")], origins=["rows.jsonl:7"])
