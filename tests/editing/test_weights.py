"""Float32 masters: nothing is lost between the optimiser and weights of lower precision."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from canonbench.editing.training.weights import Weights, training_only

LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def one_weight(dtype: torch.dtype) -> tuple[nn.Module, Weights]:
    model = nn.Linear(1, 1, bias=False, dtype=dtype)
    nn.init.ones_(model.weight)
    return model, Weights(model, ["weight"])


@LOW
def test_steps_of_one_millionth_add_up(dtype: torch.dtype) -> None:
    """2,500 Adam steps of 1e-6 against a constant gradient take 1 to 0.9975, give or take float32's rounding.

    Below 1, bfloat16 has steps of 1/256 = 0.0039 and float16 of 1/2048 = 0.0005: the nearest are 0.99609 and 0.99756.
    """
    model, weights = one_weight(dtype)
    optimizer = weights.adam(lr=1e-6)
    for _ in range(2500):
        model.weight.grad = torch.ones_like(model.weight)
        weights.collect()
        weights.step(optimizer)
    assert weights.masters["weight"].item() == pytest.approx(0.9975, abs=5e-5)
    assert model.weight.item() == {torch.bfloat16: 255 / 256, torch.float16: 2043 / 2048}[dtype]


@LOW
def test_a_step_too_small_for_the_weight_is_remembered(dtype: torch.dtype) -> None:
    model, weights = one_weight(dtype)
    model.weight.grad = torch.ones_like(model.weight)
    weights.collect()
    weights.step(weights.adam(lr=1e-6))
    assert model.weight.item() == 1
    assert weights.masters["weight"].item() == pytest.approx(1 - 1e-6, abs=1e-7)


@LOW
def test_gradients_of_several_passes_are_added_in_float32(dtype: torch.dtype) -> None:
    """1 + 1/4096 is 1 in both dtypes."""
    _, weights = one_weight(dtype)
    for value in (1.0, 1 / 4096):
        weights.live["weight"].grad = torch.full((1, 1), value, dtype=dtype)
        weights.collect()
    assert weights.masters["weight"].grad is not None
    assert weights.masters["weight"].grad.item() == 1 + 1 / 4096


def test_a_float32_weight_is_its_own_master() -> None:
    model, weights = one_weight(torch.float32)
    assert weights.masters["weight"] is model.weight


def test_adam_is_the_published_one() -> None:
    """Against the recurrence written out, with gradients that change."""
    model, weights = one_weight(torch.float64)
    optimizer = weights.adam(lr=0.01)
    value, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate([0.5, -2.0, 1e-7, 3.0], start=1):
        model.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        weights.step(optimizer)
        first, second = 0.9 * first + 0.1 * gradient, 0.995 * second + 0.005 * gradient**2
        value -= 0.01 * (first / (1 - 0.9**step)) / ((second / (1 - 0.995**step)) ** 0.5 + 1e-8)
        assert model.weight.item() == pytest.approx(value, rel=1e-12)


def test_flags_and_mode_while_training_and_after() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    model[0].bias.requires_grad_(False)
    with suppress(RuntimeError), training_only(model, ["0.bias"]):
        assert [parameter.requires_grad for parameter in model.parameters()] == [False, True]
        assert not model[1].training
        raise RuntimeError
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False]
