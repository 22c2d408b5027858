"""The output layer in slices: the value of one softmax over the vocabulary, never all logits at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from canonbench.likelihood import forward
from canonbench.likelihood import forward as head
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import route
from canonbench.likelihood.tokens import Request
from tiny_models import tiny_model


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CPU_SLICE", (3, 7))


def case(rows: int = 10, vocabulary: int = 38, scored: int = 25, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(rows, 16, generator=draw), scale * torch.randn(vocabulary, 16, generator=draw)
    bias = torch.randn(vocabulary, generator=draw)
    row = torch.randint(rows, (scored,), generator=draw)
    return hidden, weight, bias, row, torch.randint(vocabulary, (scored,), generator=draw)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("scale", [0.1, 1.0, 40.0])
def test_slices_of_the_vocabulary_add_up_to_one_softmax(biased: bool, scale: float) -> None:
    hidden, weight, bias, row, target = case(scale=scale)
    found = head.linear_log_probs(hidden, weight, bias if biased else None, row, target)
    logits = hidden.double() @ weight.double().T + (bias.double() if biased else 0)
    truth = logits.log_softmax(-1)[row, target]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, truth, rtol=0, atol=3e-6 * max(1.0, scale))


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("place", [0, 20, 37])
def test_a_logit_that_is_not_finite_is_not_hidden_by_the_slices(place: int) -> None:
    for value in (float("nan"), float("inf")):
        hidden, weight, bias, row, target = case()
        bias[place] = value
        assert not torch.isfinite(head.linear_log_probs(hidden, weight, bias, row, target)).any()


@pytest.mark.usefixtures("small_slices")
def test_entries_that_a_model_rules_out_do_no_harm() -> None:
    hidden, weight, bias, row, target = case()
    bias[30:] = -torch.inf
    target %= 30
    found = head.linear_log_probs(hidden, weight, bias, row, target)
    truth = (hidden.double() @ weight[:30].double().T + bias[:30].double()).log_softmax(-1)[row, target]
    np.testing.assert_allclose(found, truth, rtol=0, atol=3e-6)


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


@pytest.mark.parametrize("way", ["linear", "tail"])
def test_general_text_never_holds_the_logits_of_all_positions(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(head, "CPU_SLICE", (16, 512))
    monkeypatch.setattr(forward, "TAIL_LOGITS", 16 * 4096)
    model = tiny_model("llama", vocab_size=4096)
    if way == "tail":
        model.register_forward_hook(lambda _model, _args, output: output)
        model.lm_head.register_forward_hook(lambda _layer, _args, output: output)  # so it is not plainly linear
    assert route(model).head == way
    draw = np.random.default_rng(0)
    requests = [Request(tuple(draw.integers(0, 4096, 120).tolist()), 1) for _ in range(4)]
    packs = plan(model, requests, batch_tokens=256)
    with Largest() as largest:
        for pack in packs:
            dict(score(model, pack))
    assert 0 < largest.elements <= 4096 * 32  # the output layer's own weight; all logits would be 240 · 4096
