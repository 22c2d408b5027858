from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from canonbench.errors import UsageError
from canonbench.scoring.losses import LOSSES, task_loss

# Worked by hand with p_a = 1/4 and p_b = 1/2, so log p_a = -2 ln 2 and log p_b = -ln 2:
#   nll        = -log p_a            = 2 ln 2
#   likelihood = log p_a             = -2 ln 2
#   balance    = |-2 ln 2 + ln 2|    = ln 2
#   preference = log p_b - log p_a   = -ln 2 + 2 ln 2 = ln 2
LN2 = math.log(2)
BY_HAND = {"nll": 2 * LN2, "likelihood": -2 * LN2, "balance": LN2, "preference": LN2}

log_probabilities = st.floats(min_value=-500, max_value=0)


def arguments(name: str, log_p_a: object, log_p_b: object) -> tuple[object, ...]:
    return (log_p_a, log_p_b)[: LOSSES[name].arity]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_a_quarter_and_a_half_is_the_number_worked_out_by_hand(name: str) -> None:
    assert task_loss(name, *arguments(name, -2 * LN2, -LN2)) == pytest.approx(BY_HAND[name], abs=1e-15)


def test_balance_is_the_same_whichever_comes_first_and_preference_changes_sign() -> None:
    assert task_loss("balance", -1.0, -3.0) == task_loss("balance", -3.0, -1.0) == 2.0
    assert task_loss("preference", -1.0, -3.0) == -2.0
    assert task_loss("preference", -3.0, -1.0) == 2.0


@given(name=st.sampled_from(sorted(LOSSES)), pairs=st.lists(st.tuples(log_probabilities, log_probabilities)))
def test_floats_arrays_and_tensors_go_through_the_same_arithmetic(name: str, pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in (0, 1))
    one_by_one = [task_loss(name, *arguments(name, *pair)) for pair in pairs]
    in_numpy = task_loss(name, *arguments(name, a, b))
    in_torch = task_loss(name, *arguments(name, torch.from_numpy(a), torch.from_numpy(b)))
    assert isinstance(in_torch, torch.Tensor)
    assert in_numpy.tolist() == in_torch.tolist() == one_by_one


@pytest.mark.parametrize(
    ("name", "gradient"),
    [("nll", (-1.0,)), ("likelihood", (1.0,)), ("balance", (-1.0, 1.0)), ("preference", (-1.0, 1.0))],
)
def test_gradients_flow_through_a_loss_for_training(name: str, gradient: tuple[float, ...]) -> None:
    # At log p_a = -2 < log p_b = -1: |a - b| = b - a, so d/da = -1 and d/db = +1, as for b - a itself.
    inputs = [torch.tensor(value, requires_grad=True) for value in (-2.0, -1.0)[: len(gradient)]]
    task_loss(name, *inputs).backward()
    assert tuple(float(tensor.grad) for tensor in inputs) == gradient


def test_an_unknown_loss_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'balance'"):
        task_loss("balence", -1.0, -2.0)


@pytest.mark.parametrize("name", ["balance", "preference"])
def test_a_pair_loss_without_its_second_continuation_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="only the first"):
        task_loss(name, -1.0)


@pytest.mark.parametrize("name", ["nll", "likelihood"])
def test_a_second_continuation_is_never_silently_ignored(name: str) -> None:
    with pytest.raises(UsageError, match="takes one continuation"):
        task_loss(name, -1.0, -2.0)
