"""Which way each architecture goes, and that a model which honours less than it seems to is found out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from likelihood_cases import FAMILIES, TOLERANCE, model_of, questions
from torch.nn import functional

from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import layout, reference_log_probs, route
from canonbench.models.architecture import attention_window
from tiny_models import tiny_model

KINDS = dict.fromkeys(FAMILIES, "tree") | {"bloom": "chains", "mpt": "chains", "mamba": "chains"}
"""ALiBi counts places in the row, and a recurrence has no mask: neither can branch."""


def assert_exact(model: Any, budget: int = 128) -> None:
    requests = questions()
    packs = plan(model, requests, batch_tokens=budget)
    found = {index: values for pack in packs for index, values in score(model, pack)}
    for index, truth in enumerate(reference_log_probs(model.double(), requests)):
        np.testing.assert_allclose(found[index], truth, rtol=0, atol=TOLERANCE, err_msg=f"request {index}")


@pytest.mark.parametrize("family", FAMILIES)
def test_each_architecture_goes_its_way(family: str) -> None:
    found = route(model_of(family))
    assert found.kind == KINDS[family]
    assert found.head == ("tail" if family == "gemma2" else "linear")


@pytest.mark.parametrize("family", ["mistral", "gemma2"])
def test_no_tree_is_deeper_than_the_attention_window(family: str) -> None:
    model = model_of(family)
    assert attention_window(model.config) == 8
    assert layout(model, longest=8).kind == "tree"
    assert layout(model, longest=9).kind == "chains"
    assert all(pack.ids.shape[1] <= 8 for pack in plan(model, questions(longest=6), batch_tokens=256))


def test_windows_are_read_by_whatever_name_a_configuration_gives_them() -> None:
    def window(**entries: Any) -> int:
        return attention_window(SimpleNamespace(to_dict=lambda: entries))

    assert window(sliding_window=4096) == 4096
    assert window(sliding_window=None, window_size=256) == 256
    assert window(attention_chunk_size=512, sliding_window=1024) == 512
    assert window(sliding_window=512, use_sliding_window=False, max_window_layers=3) > 10**6


def test_a_model_that_ignores_positions_is_not_given_trees() -> None:
    model = tiny_model("llama")
    drop_arguments(model, "position_ids")
    assert route(model).kind == "chains"
    assert_exact(model)


def test_a_model_that_ignores_the_mask_is_not_given_trees() -> None:
    model = tiny_model("llama")
    drop_arguments(model, "attention_mask")
    assert route(model).kind == "chains"
    assert_exact(model)


def test_a_model_that_looks_ahead_is_fed_whole_sequences_of_one_length() -> None:
    model = tiny_model("llama", is_causal=False)
    assert route(model).kind == "plain"
    assert_exact(model)


def test_rotary_angles_that_depend_on_the_batch_are_met_with_equal_lengths() -> None:
    angles = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 4.0,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0] * 4,
        "original_max_position_embeddings": 20,
    }
    model = tiny_model("llama", rope_parameters=angles)
    assert layout(model, longest=20).kind == "tree"
    assert layout(model, longest=21).kind == "plain"
    assert_exact(model)


def test_a_model_without_a_called_output_layer_is_asked_for_its_logits() -> None:
    model = tiny_model("gpt2")
    inner, layer = model.transformer, model.lm_head

    def forward(input_ids: torch.Tensor, **rest: Any) -> Any:
        return SimpleNamespace(logits=functional.linear(inner(input_ids, **rest).last_hidden_state, layer.weight))

    model.forward = forward
    assert route(model) == ("tree", "logits")
    assert_exact(model)


def test_a_scaled_logit_is_found_out() -> None:
    model = tiny_model("llama")
    model.register_forward_hook(lambda _model, _args, output: output | {"logits": output.logits * 0.5})
    assert route(model).head == "tail"
    assert_exact(model)


def test_a_prompt_tuned_model_is_exact() -> None:
    from peft import PromptTuningConfig, TaskType, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3)
        model = get_peft_model(tiny_model("llama"), config).eval()
    assert route(model) == ("chains", "linear")
    assert_exact(model)


def test_an_adapter_on_the_output_layer_is_exact_and_a_known_model_is_tried_again() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    base = tiny_model("llama")
    assert route(base).head == "linear"
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(base, config).eval()
    assert route(base).head == route(adapted).head == "tail"  # PEFT changes the base model's layers in place
    assert_exact(adapted)


def test_a_model_is_tried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = tiny_model("llama"), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    route(model)
    spent = len(calls)
    route(model)
    assert len(calls) == spent > 0


def test_packs_depend_on_the_architecture_and_not_on_the_weights() -> None:
    base, edited = (plan(tiny_model("llama", seed=seed), questions(), batch_tokens=100) for seed in (0, 1))
    for one, other in zip(base, edited, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        assert one.requests == other.requests


def drop_arguments(model: Any, *names: str) -> None:
    """Let the body of a model ignore some of what it is given."""
    inner = model.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **{key: value for key, value in kwargs.items() if key not in names})

    model.model.forward = forward
