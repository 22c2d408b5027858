"""A context in front of every sequence is what prepending its ids is, whichever way the engine takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import layout, reference_log_probs, route
from canonbench.likelihood.tokens import Request
from canonbench.models.architecture import context_length, require_causal, vocabulary_size
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from tiny_models import ARCHITECTURES, CONTEXT, VOCABULARY, save_tiny, tiny_model

CACHED = tuple(name for name in ARCHITECTURES if name != "mamba")
FRONT = tuple(np.random.default_rng(7).integers(0, VOCABULARY, 20).tolist())
TOLERANCE = 1e-5
"""Nats per token, between float32 and the reference in float64."""


def questions() -> list[Request]:
    """Sequences that branch and repeat, of up to 40 tokens."""
    draw = np.random.default_rng(0)
    requests = []
    for _ in range(4):
        stem = tuple(draw.integers(0, VOCABULARY, draw.integers(1, 20)).tolist())
        for _ in range(4):
            tail = tuple(draw.integers(0, VOCABULARY, draw.integers(1, 20)).tolist())
            requests.append(Request(stem + tail, len(stem)))
    return requests


def answers(model: Any, requests: list[Request]) -> list[npt.NDArray[np.float64]]:
    found = {index: own for pack in plan(model, requests, batch_tokens=96) for index, own in score(model, pack)}
    return [found[index] for index in range(len(requests))]


def prepended(model: Any, requests: list[Request], front: tuple[int, ...] = FRONT) -> list[npt.NDArray[np.float64]]:
    """The definition, in float64: the context's ids and the sequence's as one sequence."""
    whole = [Request(front + ids, len(front) + start) for ids, start in requests]
    return reference_log_probs(copy.deepcopy(model).double(), whole)


def require_close(found: list[npt.NDArray[np.float64]], truth: list[npt.NDArray[np.float64]]) -> None:
    for mine, right in zip(found, truth, strict=True):
        np.testing.assert_allclose(mine, right, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("architecture", CACHED)
def test_engine_and_reference_equal_plain_prepending(architecture: str) -> None:
    model, requests = tiny_model(architecture), questions()
    wrapper, truth = InContext(model, FRONT), prepended(model, requests)
    require_close(reference_log_probs(wrapper, requests), truth)
    require_close(answers(wrapper, requests), truth)
    assert np.abs(np.concatenate(truth) - np.concatenate(answers(model, requests))).max() > 0.1


def test_trees_are_still_trees() -> None:
    assert route(InContext(tiny_model("llama"), FRONT)).kind == route(tiny_model("llama")).kind == "tree"


@pytest.mark.parametrize("window", [8, 24, 48, 64, 200])
def test_the_context_lies_in_the_attention_window_too(window: int) -> None:
    """Sequences fit the window on their own, but not with the 20 tokens in front."""
    model, requests = tiny_model("mistral", sliding_window=window), questions()
    wrapper = InContext(model, FRONT)
    require_close(answers(wrapper, requests), prepended(model, requests))
    longest = max(len(ids) for ids, _ in requests)
    assert (layout(wrapper, longest).kind == "tree") == (longest + len(FRONT) <= window)


def test_windows_in_every_other_layer_slide_over_the_context() -> None:
    config = Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=8, bos_token_id=0, eos_token_id=1, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma2ForCausalLM(config).eval()
        for parameter in model.parameters():
            parameter.data.normal_(std=0.2)
    require_close(answers(InContext(model, FRONT), questions()), prepended(model, questions()))


def test_the_context_takes_its_share_of_the_models_context() -> None:
    wrapper = InContext(tiny_model("gpt2"), FRONT)
    assert context_length(wrapper) == CONTEXT - 20
    assert context_length(InContext(tiny_model("bloom"), FRONT)) is None
    assert vocabulary_size(wrapper) == VOCABULARY
    require_causal(wrapper, "wrapper")
    full = Request(tuple(range(CONTEXT - 20)), 1)
    require_close(answers(wrapper, [full]), prepended(wrapper.model, [full]))
    with pytest.raises(CanonbenchError, match=f"item 0: 237 tokens, but the model's context is {CONTEXT - 20}"):
        answers(wrapper, [Request((*full.ids, 5), 1)])


def test_an_own_mask_leaves_the_context_visible() -> None:
    """The second token is hidden from the third: as if it were not there, but for the third's position."""
    wrapper, ids = InContext(tiny_model("llama"), FRONT), torch.tensor([[5, 6, 7]])
    visible = torch.tensor([[True, False, False], [True, True, False], [True, False, True]])[None, None]
    positions = torch.tensor([[0, 1, 1]])
    masked = wrapper(ids, attention_mask=visible, position_ids=positions).logits[0, 2]
    additive = torch.zeros(1, 1, 3, 3).masked_fill(~visible, torch.finfo(torch.float32).min)
    plain = wrapper(torch.tensor([[5, 7]])).logits[0, 1]
    assert torch.allclose(masked, plain, atol=1e-5)
    assert torch.allclose(wrapper(ids, additive, positions).logits[0, 2], plain, atol=1e-5)


def test_left_padding_is_not_seen() -> None:
    wrapper = InContext(tiny_model("llama"), FRONT)
    padded = wrapper(
        torch.tensor([[0, 5, 7]]), attention_mask=torch.tensor([[0, 1, 1]]), position_ids=torch.tensor([[0, 0, 1]])
    )
    assert torch.allclose(padded.logits[0, 1:], wrapper(torch.tensor([[5, 7]])).logits[0], atol=1e-5)


def test_no_weight_is_changed_and_nothing_of_a_sequence_is_kept() -> None:
    model, ids = tiny_model("llama"), torch.tensor([[5, 6, 7]])
    before = fingerprint(model)
    wrapper = InContext(model, FRONT)
    first = wrapper(ids)
    wrapper(torch.tensor([[9, 9, 9, 9]]).repeat(3, 1))
    assert torch.equal(wrapper(ids).logits, first.logits)
    assert first.logits.shape == (1, 3, VOCABULARY)
    assert first.past_key_values is None
    assert fingerprint(model) == before


def test_another_dtype_or_a_copy_reads_the_context_again() -> None:
    wrapper = InContext(tiny_model("llama"), FRONT)
    requests = questions()[:3]
    truth = prepended(wrapper.model, requests)
    copied = copy.deepcopy(wrapper).double()
    assert copied.dtype == torch.float64
    for mine, right in zip(reference_log_probs(copied, requests), truth, strict=True):
        np.testing.assert_allclose(mine, right, rtol=0, atol=1e-12)


def test_gradients_can_flow_although_the_context_was_read_without() -> None:
    wrapper = InContext(tiny_model("llama"), FRONT)
    with torch.inference_mode():
        wrapper(torch.tensor([[5, 6]]))
    wrapper(torch.tensor([[5, 6]])).logits.sum().backward()
    assert wrapper.model.lm_head.weight.grad is not None


def test_the_fingerprint_tells_contexts_apart() -> None:
    model = tiny_model("llama")
    keys = {fingerprint(each).key for each in (model, *(InContext(model, ids) for ids in ([3, 4], [4, 3], [3, 4, 4])))}
    assert len(keys) == 4
    assert fingerprint(InContext(model, [3, 4])).key == fingerprint(InContext(tiny_model("llama"), [3, 4])).key


@pytest.mark.parametrize(
    ("architecture", "config", "ids", "says"),
    [
        ("mamba", {}, FRONT, "MambaForCausalLM cannot be given a context: it has no key-value cache"),
        ("gpt2", {}, tuple(range(CONTEXT)), "a context of 256 tokens does not fit a model whose context is 256"),
        ("llama", {}, (), "a context of 0 tokens does not fit"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
            FRONT,
            "cannot be given a context: its rotary angles depend on the length of the whole sequence",
        ),
    ],
)
def test_a_model_that_cannot_take_a_context_says_so(
    architecture: str, config: dict[str, Any], ids: tuple[int, ...], says: str
) -> None:
    with pytest.raises(CanonbenchError) as caught:
        InContext(tiny_model(architecture, **config), ids)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_gives_other_answers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    forward = model.forward

    def counting_from_zero(**inputs: Any) -> Any:
        return forward(**inputs, position_ids=torch.arange(inputs["input_ids"].shape[1])[None])

    monkeypatch.setattr(model, "forward", counting_from_zero)
    with pytest.raises(CanonbenchError, match="with its key-value cache it gives other logits than without"):
        InContext(model, FRONT)


def test_the_artefact_opens_to_the_same_model(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path / "base", "gpt2"), Loading())
    wrapper, mark = InContext(loaded.model, FRONT, "Once upon"), fingerprint(loaded.model)
    save_artefact(wrapper, tmp_path / "kept", base=loaded.source, base_fingerprint=mark, record={"seed": 1})
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["canonbench_edit.json"]
    opened = load_model(tmp_path / "kept", Loading())
    assert opened.model.text == "Once upon"
    assert fingerprint(opened.model).key == fingerprint(wrapper).key
    assert all(map(np.array_equal, answers(opened.model, questions()), answers(wrapper, questions())))
    other = save_tiny(tmp_path / "other", "gpt2", seed=2)
    with pytest.raises(CanonbenchError, match="is not the model that"):
        load_model(tmp_path / "kept", Loading(), base=other)


def test_a_changed_model_below_the_context_is_not_lost_in_silence(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path / "base", "gpt2"), Loading())
    mark = fingerprint(loaded.model)
    loaded.model.lm_head.weight.data *= 1.01
    wrapper = InContext(loaded.model, FRONT)
    with pytest.raises(CanonbenchError, match="the in-context edit is not all that was changed"):
        save_artefact(wrapper, tmp_path / "kept", base=loaded.source, base_fingerprint=mark, record={})
