"""Matrix products by oneDNN: the same numbers as torch's own, gradients too, whatever the shapes and strides."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from canonbench.models import onednn_linear as products
from canonbench.models.onednn_linear import FEWEST_ROWS, LONGEST_SUM, fast_products

SIZES = st.integers(1, 450)
YES_NO = st.booleans()
CPU = torch.device("cpu")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which products oneDNN was asked for; the mode is on whatever this processor is."""
    monkeypatch.setattr(products, "_gains", lambda: True)
    seen: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(products, name)
        return lambda *args: (seen.append(name), real(*args))[1]

    for name in ("_product", "_exact_product"):
        monkeypatch.setattr(products, name, noting(name))
    return seen


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 40), terms=SIZES, width=SIZES, bias=st.booleans(), transposed=st.booleans(), odd=st.booleans()
)
def test_a_product_is_the_one_in_float64_within_float32_rounding(
    rows: int, terms: int, width: int, bias: bool, transposed: bool, odd: bool
) -> None:
    given_rows = normal(rows, 2 * terms)[:, ::2] if odd else normal(rows, terms)
    weight = normal(terms, width).t() if transposed else normal(width, terms)
    added = normal(width) if bias else None
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(products, "_gains", lambda: True)
        with fast_products(CPU):
            found = functional.linear(given_rows, weight, added)
    truth = functional.linear(given_rows.double(), weight.double(), None if added is None else added.double())
    assert found.dtype is torch.float32
    # the rounding of a sum of n terms grows as √n times the sum of their sizes
    sizes = given_rows.double().abs() @ weight.double().abs().t() + (0 if added is None else added.double().abs())
    assert ((found.double() - truth).abs() <= torch.finfo(torch.float32).eps * (terms + 1) ** 0.5 * sizes).all()


def test_partial_sums_are_as_exact_as_torchs_own_product() -> None:
    rows, weight = normal(512, 8 * LONGEST_SUM), normal(64, 8 * LONGEST_SUM)
    truth = rows.double() @ weight.double().t()

    def error(found: Tensor) -> float:
        return float((found - truth).square().mean().sqrt())

    whole, parts = products._product(rows, weight, None), products._exact_product(rows, weight, None)
    assert error(parts) < 0.8 * error(whole) or error(whole) <= error(functional.linear(rows, weight))
    assert error(parts) <= 1.2 * error(functional.linear(rows, weight))


@pytest.mark.parametrize("shape", [(FEWEST_ROWS, 30), (3, 5, 30)])
@pytest.mark.parametrize("trained", ["all", "rows", "weight"])
def test_gradients_are_torchs_own(shape: tuple[int, ...], trained: str, calls: list[str]) -> None:
    def gradients() -> list[Tensor | None]:
        rows, weight, bias = normal(*shape), normal(20, 30), normal(20)
        for name, tensor in (("rows", rows), ("weight", weight), ("bias", bias)):
            tensor.requires_grad_(trained in ("all", name))
        functional.linear(rows, weight, bias).square().sum().backward()
        return [rows.grad, weight.grad, bias.grad]

    truth = gradients()
    assert calls == []
    with fast_products(CPU):
        found = gradients()
    assert "_product" in calls
    for mine, other in zip(found, truth, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)


def test_gpt2s_layers_are_taken_too(calls: list[str]) -> None:
    from transformers.pytorch_utils import Conv1D

    layer, rows = Conv1D(20, 30), normal(3, 4, 30)
    truth = layer(rows)
    with fast_products(CPU):
        found = layer(rows)
    assert calls
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize(
    ("rows", "weight"),
    [(normal(FEWEST_ROWS - 1, 4), normal(3, 4)), (normal(20, 4).double(), normal(3, 4).double()),
     (normal(20), normal(20)), (normal(20, 4).bfloat16(), normal(3, 4).bfloat16())],
    ids=["few rows", "float64", "vectors", "bfloat16"],
)  # fmt: skip
def test_everything_else_stays_torchs_own(rows: Tensor, weight: Tensor, calls: list[str]) -> None:
    with fast_products(CPU):
        found = functional.linear(rows, weight)
    assert calls == []
    assert torch.equal(found, functional.linear(rows, weight))


def test_shapes_that_do_not_fit_are_refused_in_torchs_own_way() -> None:
    with fast_products(CPU), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        functional.linear(normal(20, 4), normal(3, 5))


def test_no_stride_is_slow(calls: list[str]) -> None:
    """The operator has a path without any optimisation, a thousand times slower, that some strides would take."""
    rows, weight = normal(256, 400), normal(300, 800)[:, ::2]
    with torch.inference_mode(), fast_products(CPU):
        start = time.process_time()
        functional.linear(rows, weight)
        functional.linear(rows, normal(300, 800)[:, :400])
        assert time.process_time() - start < 1  # 60 MFLOP: milliseconds, or more than a second on that path
    assert calls


def test_an_operator_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_product", lambda *operands: functional.linear(*operands) * 1.01)
    assert not products._is_right()


def test_an_operator_that_is_not_there_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(products, "_product", missing)
    assert not products._is_right()


def test_models_elsewhere_are_left_alone(calls: list[str]) -> None:
    with fast_products(torch.device("meta")):
        functional.linear(normal(20, 4), normal(3, 4))
    assert calls == []


def test_a_model_gives_the_same_inside_and_outside(calls: list[str]) -> None:
    model = nn.Sequential(nn.Linear(40, 500), nn.GELU(), nn.Linear(500, 40)).eval()
    rows = normal(64, 40)
    with torch.inference_mode():
        truth = model(rows)
        with fast_products(CPU):
            found = model(rows)
    assert calls.count("_exact_product") == 2
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)
