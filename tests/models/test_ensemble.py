"""An ensemble is eq. 12, whichever way the engine takes and however much its small models share."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import peft
import pytest
import torch
from model_cases import lora
from transformers import Gemma2Config, Gemma2ForCausalLM

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import plan, score, under
from canonbench.likelihood.route import layout, reference_log_probs, route
from canonbench.likelihood.tokens import Request
from canonbench.models.architecture import context_length, readable_ids, require_causal, vocabulary_size
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.ensemble.model import Ensemble
from canonbench.models.ensemble.parts import Apart, OneTrunk, Pair, WithoutAdapter, pair_of_edit
from canonbench.models.fingerprint import config_hash, fingerprint
from tiny_models import CONTEXT, VOCABULARY, tiny_model

Answers = list[npt.NDArray[np.float64]]


def questions(vocabulary: int = VOCABULARY) -> list[Request]:
    """Sequences that branch and repeat, of up to 40 tokens."""
    draw = np.random.default_rng(0)
    requests = []
    for _ in range(4):
        stem = tuple(draw.integers(0, vocabulary, draw.integers(1, 20)).tolist())
        for _ in range(4):
            tail = tuple(draw.integers(0, vocabulary, draw.integers(1, 20)).tolist())
            requests.append(Request(stem + tail, len(stem)))
    return requests


def answers(model: Any, requests: list[Request], **how: Any) -> Answers:
    found = {i: own for pack in plan(model, requests, batch_tokens=96) for i, own in score(model, pack, **how)}
    return [found[index] for index in range(len(requests))]


@torch.inference_mode()
def by_hand(parts: tuple[Any, Any, Any], beta: float, requests: list[Request], words: int) -> Answers:
    """Eq. 12 as it is written, of the three as they are, one sequence at a time."""
    found = []
    for ids, start in requests:
        log_p = [part(torch.tensor([ids])).logits[0, -len(ids) :].double().log_softmax(-1) for part in parts]
        both = log_p[0].clone()
        both[:, :words] += beta * (log_p[1] - log_p[2])[:, :words]
        both = both.log_softmax(-1)
        found.append(both[torch.arange(start - 1, len(ids) - 1), list(ids[start:])].numpy())
    return found


def require_close(found: Answers, truth: Answers, tolerance: float) -> None:
    for mine, right in zip(found, truth, strict=True):
        np.testing.assert_allclose(mine, right, rtol=0, atol=tolerance)


def doubled(*models: Any) -> tuple[Any, ...]:
    return tuple(copy.deepcopy(model).double() for model in models)


def always(*probabilities: float) -> Any:
    """A GPT-2 of three words that always gives them these probabilities."""
    model: Any = tiny_model("gpt2", vocab_size=3, tie_word_embeddings=False)
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(torch.eye(32)[0])
        model.lm_head.weight[:, 0] = torch.tensor(probabilities).log()
    return model


@pytest.mark.parametrize(
    ("beta", "wanted"),
    [(0.0, (1 / 2, 1 / 4, 1 / 4)), (0.5, (8 / 11, 2 / 11, 1 / 11)), (1.0, (32 / 37, 4 / 37, 1 / 37))],
)
def test_three_words_worked_out(beta: float, wanted: tuple[float, ...]) -> None:
    """The edit makes the words 4, 1 and 1/4 times as likely: at β = 1/2 that counts 2, 1 and 1/2 times.

    1/2 · 2 : 1/4 · 1 : 1/4 · 1/2 = 8 : 2 : 1, and at β = 1, 1/2 · 4 : 1/4 : 1/4 · 1/4 = 32 : 4 : 1.
    """
    model = Ensemble(always(1 / 2, 1 / 4, 1 / 4), Apart(always(0.4, 0.5, 0.1), always(0.1, 0.5, 0.4)), beta=beta)
    found = answers(model, [Request((0, word), 1) for word in range(3)])
    assert [math.exp(own[0]) for own in found] == pytest.approx(wanted, rel=1e-6)


PAIRS = [
    ("gpt2", "gpt2"),
    ("gpt2", "backpack"),
    ("gptj", "backpack"),
    ("llama", "gpt_neox"),
    ("bloom", "opt"),
    ("mamba", "llama"),
]


@pytest.mark.parametrize(("large", "small"), PAIRS)
def test_engine_and_reference_equal_the_formula(large: str, small: str) -> None:
    parts = doubled(tiny_model(large), tiny_model(small, seed=1), tiny_model(small, seed=2))
    model, requests = Ensemble(parts[0], Apart(*parts[1:]), beta=0.7), questions()
    truth = by_hand(parts, 0.7, requests, VOCABULARY)
    require_close(reference_log_probs(model, requests), truth, 1e-6)  # GPT-J attends in float32
    require_close(answers(model, requests), truth, 1e-6)


def test_float32_is_as_near_as_elsewhere() -> None:
    parts = tiny_model("llama"), tiny_model("gpt2", seed=1), tiny_model("gpt2", seed=2)
    found = answers(Ensemble(parts[0], Apart(*parts[1:])), questions())
    require_close(found, by_hand(doubled(*parts), 1.0, questions(), VOCABULARY), 1e-5)


def test_its_trees_are_trees() -> None:
    large, small = tiny_model("llama"), tiny_model("gpt2", seed=1)
    assert route(Ensemble(large, Apart(small, tiny_model("gpt2", seed=2)))).kind == "tree"
    assert route(Ensemble(large, Apart(tiny_model("mamba"), small))).kind != "tree"


def test_logits_that_are_capped_after_the_output_layer_are_taken_as_they_are() -> None:
    config = Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, bos_token_id=0, eos_token_id=1, pad_token_id=None,
        final_logit_softcapping=3.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        capped = Gemma2ForCausalLM(config).eval()
        for parameter in capped.parameters():
            parameter.data.normal_(std=0.2)
    parts = doubled(tiny_model("llama"), capped, tiny_model("gpt2"))
    found = answers(Ensemble(parts[0], Apart(*parts[1:])), questions())
    require_close(found, by_hand(parts, 1.0, questions(), VOCABULARY), 1e-5)  # its norms are in float32


@pytest.mark.parametrize("large", ["gpt2", "llama"])
def test_no_beta_is_the_large_model(large: str) -> None:
    alone = tiny_model(large)
    model = Ensemble(alone, Apart(tiny_model("gpt2", seed=1), tiny_model("gpt2", seed=2)), beta=0.0)
    require_close(answers(model, questions()), answers(alone, questions()), 2e-6)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(ids).logits, alone(ids).logits)


@pytest.mark.parametrize("small", ["gpt2", "backpack"])
def test_words_that_only_the_large_model_has_keep_its_logits(small: str) -> None:
    """Output layers of 384 and 300 rows, and 290 words that mean the same."""
    parts = doubled(tiny_model("gpt2"), *(tiny_model(small, vocab_size=300, seed=seed) for seed in (1, 2)))
    model = Ensemble(parts[0], Apart(*parts[1:]), vocabulary=290)
    require_close(answers(model, questions(290)), by_hand(parts, 1.0, questions(290), 290), 1e-10)
    ids = torch.tensor([[3, 250, 17]])
    assert torch.equal(model(ids).logits[..., 290:], parts[0](ids).logits[..., 290:])
    assert vocabulary_size(model) == VOCABULARY
    with pytest.raises(CanonbenchError, match="token id 290 is outside the vocabulary of 290"):
        answers(model, [Request((3, 290), 1)])
    assert readable_ids(Ensemble(parts[0], Apart(*parts[1:]))) == 300


def test_a_change_that_is_none_leaves_the_large_model_as_it_is() -> None:
    """Also where only it has some of its words, whose share would go to the others if they were left out."""
    alone, small = tiny_model("gpt2"), tiny_model("gpt2", vocab_size=300, seed=1)
    model = Ensemble(alone, Apart(small, copy.deepcopy(small)))
    require_close(answers(model, questions(300)), answers(alone, questions(300)), 2e-6)


def edited_backpack(dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """A Backpack with edited senses, and the one that it was."""
    before = tiny_model("backpack", seed=1).to(dtype)
    after: Any = copy.deepcopy(before)
    edit = after.edit_senses(torch.tensor([3, 5, 5, 200]), torch.tensor([0, 1, 2, 3]))
    with torch.no_grad():
        edit.deltas.copy_(torch.randn(edit.deltas.shape, generator=torch.Generator().manual_seed(0)))
    return after, before


def test_edited_senses_take_one_pass_of_the_trunk_for_both() -> None:
    after, before = edited_backpack()
    large, requests = tiny_model("gpt2").double(), questions()
    requests += [Request((3, 5, 200, 7), 1)]
    shared, apart = Ensemble(large, OneTrunk(after)), Ensemble(large, Apart(after, before))
    require_close(answers(shared, requests), by_hand((large, after, before), 1.0, requests, VOCABULARY), 1e-10)
    assert route(shared) == route(apart)
    calls: list[int] = []
    for model in (after, before):
        model.backpack.gpt2_model.register_forward_hook(lambda *_: calls.append(1))
    ids = torch.tensor([[3, 5, 7]])
    assert torch.allclose(shared(ids).logits, apart(ids).logits, rtol=0, atol=1e-10)
    assert len(calls) == 1 + 2


def test_below_an_unmerged_adapter_lies_the_model_that_it_is_put_on() -> None:
    before = tiny_model("llama", seed=1).double()
    after = peft.get_peft_model(copy.deepcopy(before), lora(target_modules=["q_proj", "up_proj", "lm_head"])).double()
    for name, parameter in after.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    after = after.eval()
    pair = pair_of_edit(after, "peft")
    assert isinstance(pair, Apart)
    assert isinstance(pair.before, WithoutAdapter)
    large = tiny_model("gpt2").double()
    truth = by_hand((large, after, before), 0.5, questions(), VOCABULARY)
    require_close(answers(Ensemble(large, pair, beta=0.5), questions()), truth, 1e-10)


def test_below_a_context_lies_the_model_that_reads_it() -> None:
    large, before = doubled(tiny_model("gpt2"), tiny_model("llama", seed=1))
    after = InContext(before, range(20))
    pair = pair_of_edit(after, "in-context")
    assert isinstance(pair, Apart)
    assert pair.before is before
    model = Ensemble(large, pair)
    require_close(answers(model, questions()), by_hand((large, after, before), 1.0, questions(), VOCABULARY), 1e-10)
    assert context_length(model) == CONTEXT - 20


def test_a_whole_edited_model_does_not_hold_the_one_that_it_was() -> None:
    assert pair_of_edit(tiny_model("gpt2"), "delta") is None
    assert pair_of_edit(edited_backpack()[0], "delta") is None  # those senses may have been the base's


def test_half_precision_and_full_go_together() -> None:
    large = tiny_model("gpt2").to(torch.bfloat16)
    parts = large, tiny_model("llama", seed=1), tiny_model("llama", seed=2)
    model, requests = Ensemble(large, Apart(*parts[1:])), questions()
    assert model.dtype == torch.bfloat16
    assert route(model).kind == "tree"
    require_close(answers(model, requests), by_hand(parts, 1.0, requests, VOCABULARY), 0.1)


def test_the_tightest_limits_are_the_ensembles() -> None:
    windowed, short = tiny_model("mistral", sliding_window=24), tiny_model("gpt2", n_positions=100)
    model = Ensemble(tiny_model("llama"), Apart(windowed, short))
    assert context_length(model) == 100
    assert layout(model, 24).kind == "tree"
    assert layout(model, 25).kind == "chains"
    free = Ensemble(tiny_model("bloom"), Apart(tiny_model("bloom", seed=1), tiny_model("bloom", seed=2)))
    assert context_length(free) is None
    turning = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
    stretched = tiny_model("llama", **turning, max_position_embeddings=64)
    assert context_length(Ensemble(stretched, Apart(windowed, windowed))) == 64
    require_causal(model, "ensemble")


def pair(one: int, other: int) -> Pair:
    return Apart(tiny_model("gpt2", seed=one), tiny_model("gpt2", seed=other))


def test_the_fingerprint_tells_parts_and_beta_apart() -> None:
    large = tiny_model("gpt2")
    found = [
        Ensemble(large, pair(1, 2), beta=0.5),
        Ensemble(large, pair(1, 2), beta=0.6),
        Ensemble(large, pair(2, 1), beta=0.5),
        Ensemble(large, pair(1, 3), beta=0.5),
        Ensemble(tiny_model("gpt2", seed=4), pair(1, 2), beta=0.5),
        Ensemble(large, pair(1, 2), beta=0.5, vocabulary=300),
    ]
    keys = {fingerprint(each).key for each in found}
    assert len(keys | {fingerprint(large).key}) == 7
    assert fingerprint(Ensemble(tiny_model("gpt2"), pair(1, 2), beta=0.5)).key == fingerprint(found[0]).key
    found[0].config.beta = 0.6
    assert config_hash(found[0]) == fingerprint(found[1]).config


@pytest.mark.parametrize("small", ["gpt2", "backpack"])
def test_many_betas_at_once_are_each_beta_alone(small: str) -> None:
    large, after, before = tiny_model("llama"), tiny_model(small, seed=1), tiny_model(small, seed=2)
    betas = [1.0, 0.3, 0.0]
    together = answers(Ensemble(large, Apart(after, before)), questions(), compute=under(betas))
    for column, beta in enumerate(betas):
        alone = answers(Ensemble(large, Apart(after, before), beta=beta), questions())
        assert all(np.array_equal(own[:, column], other) for own, other in zip(together, alone, strict=True))


def test_a_model_whose_logits_do_not_come_from_its_output_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tiny_model("gpt2", seed=1)
    forward = odd.forward

    def leaning(**inputs: Any) -> Any:
        output = forward(**inputs)
        output.logits[..., inputs["input_ids"][0, 0]] += 1
        return output

    monkeypatch.setattr(odd, "forward", leaning)
    with pytest.raises(CanonbenchError, match="GPT2LMHeadModel cannot be part of an ensemble"):
        Ensemble(tiny_model("gpt2"), Apart(odd, tiny_model("gpt2")))


def test_nothing_is_trained_through_it() -> None:
    assert not Ensemble(tiny_model("gpt2"), pair(1, 2))(torch.tensor([[5, 6]])).logits.requires_grad
