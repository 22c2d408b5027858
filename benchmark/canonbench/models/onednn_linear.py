"""Run float32 linear layers on the CPU through oneDNN, which uses AVX-512 where torch's default does not.

torch passes float32 linear layers to MKL, which uses only AVX2 on AMD processors: half the speed, or less. oneDNN is in
every torch build for x86. This module calls the operator that torch.compile uses directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, functional
from torch.overrides import TorchFunctionMode

FEWEST_ROWS = 8
"""With fewer rows, loading the weights from memory costs more than the arithmetic, so oneDNN gains nothing."""
LONGEST_SUM = 192
"""Most terms summed sequentially. oneDNN sums all K terms that way, which in float32 doubles MKL's error. Partial sums
of 192 terms have the same error as MKL (root mean square, K = 576), and cost a tenth of the time."""


def fast_products(device: torch.device) -> AbstractContextManager[Any]:
    """Context manager: run float32 linear layers (GPT-2's Conv1D included) on the CPU by oneDNN, with gradients.

    It does nothing if ``device`` is not the CPU, the CPU lacks AVX-512 (no gain), or oneDNN is missing or gives
    different results.
    """
    return _ByOneDnn() if device.type == "cpu" and _gains() else nullcontext()


@cache
def _gains() -> bool:
    """Whether to use oneDNN. The CPU type decides, not a timing, so one machine always computes the same bits."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _is_right()


def _is_right() -> bool:
    """Whether the operator gives correct products; it is not documented by torch, so a new version may change it."""
    draw = torch.Generator().manual_seed(0)
    rows, weight, bias = (torch.randn(shape, generator=draw) for shape in ((FEWEST_ROWS, 400), (80, 400), (80,)))
    try:
        found = _product(rows, weight, None) + bias, _exact_product(rows, weight, bias)
    except (AttributeError, RuntimeError):
        return False
    truth = functional.linear(rows.double(), weight.double(), bias.double())
    return all(torch.allclose(each.double(), truth, rtol=0, atol=1e-4) for each in found)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute rows (..., K) @ weight (N, K).T + bias (N,) with oneDNN."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # other strides are a thousand times slower
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


def _exact_product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As ``_product``, but in partial sums over K of at most LONGEST_SUM terms, added one by one."""
    terms = rows.shape[-1]
    length = ceil(terms / ceil(terms / LONGEST_SUM))
    (first, *others), (start, *more) = torch.split(rows, length, -1), torch.split(weight, length, -1)
    found = _product(first, start, bias)
    for part, own in zip(others, more, strict=True):
        found = torch.ops.mkldnn._linear_pointwise.binary(part, found, own.contiguous(), None, "add")
    return found


class _Linear(torch.autograd.Function):
    """The linear layer with its gradients, which are also computed by ``_product``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        flat = upstream.flatten(0, -2)
        return (
            _product(upstream, weight.t(), None) if wanted[0] else None,
            _product(flat.t(), rows.flatten(0, -2).t(), None) if wanted[1] else None,
            flat.sum(0) if wanted[2] else None,
        )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = input  # torch's name for the argument, which callers may pass as a keyword
    if not _suits(rows, weight, bias):
        return functional.linear(rows, weight, bias)
    operands = [tensor for tensor in (rows, weight, bias) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands):
        found: Tensor = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
        return found
    return _exact_product(rows, weight, bias)


def _suits(rows: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    given = (rows, weight) if bias is None else (rows, weight, bias)
    return (
        all(type(each) in (Tensor, Parameter) and each.dtype is torch.float32 and each.is_cpu for each in given)
        and rows.dim() >= 2
        and weight.dim() == 2
        and rows.shape[-1] == weight.shape[1] > 0
        and (bias is None or bias.shape == weight.shape[:1])
        and rows.numel() >= FEWEST_ROWS * rows.shape[-1]
        and not torch.is_autocast_enabled("cpu")
    )


class _ByOneDnn(TorchFunctionMode):
    """Intercept torch's linear functions and run them by ``_linear``."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear:
            return _linear(*args, **(kwargs or {}))
        if func is torch.addmm and len(args) == 3 and not kwargs and args[0].dim() == 1:
            return _linear(args[1], args[2].t(), args[0])
        return func(*args, **(kwargs or {}))
