"""What a run is said to cost beforehand is what it costs."""

from __future__ import annotations

import pytest
from likelihood_cases import model_of, questions
from torch.utils.flop_counter import FlopCounterMode

from canonbench.likelihood.engine import estimate, plan, score
from canonbench.likelihood.tokens import Request
from canonbench.models import onednn_linear as products
from tiny_models import tiny_model


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2", "bloom"])
def test_the_flops_are_those_of_the_matrix_products(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_gains", lambda: False)  # the counter does not know oneDNN's operator
    model = tiny_model(family)
    if family != "bloom":  # which has its own attention
        model.set_attn_implementation("eager")  # whose products the counter sees; it overlooks fused attention on CPU
    packs = plan(model, questions(), batch_tokens=128)
    with FlopCounterMode(display=False) as counter:
        for pack in packs:
            dict(score(model, pack))
    assert estimate(model, packs).flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_the_tokens_are_those_fed_and_shared_ones_count_once() -> None:
    model = model_of("llama")
    stem = tuple(range(20))
    packs = plan(model, [Request((*stem, last), 20) for last in range(5)])
    assert estimate(model, packs).tokens == 20


def test_the_bytes_hold_the_weights_and_grow_with_the_batch() -> None:
    model, requests = model_of("llama"), questions()
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    small, large = (estimate(model, plan(model, requests, batch_tokens=budget)).bytes for budget in (32, 512))
    assert weights < small < large
    assert estimate(model, []).bytes == weights
