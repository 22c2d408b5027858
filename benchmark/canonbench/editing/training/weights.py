"""The trained tensors: Adam on float32 master copies of weights in lower precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.995)
"""Adam's β1 and β2, as published (docs/reference/protocol.md#8-methods)."""
WIDE = (torch.float32, torch.float64)


class Weights:
    """The model's tensors of the given names, each with a master copy that the optimiser updates.

    A step at a learning rate of 1e-5 or less is below the precision of bfloat16 and float16 and would be lost, so it
    is added to a float32 copy, which is then rounded. A float32 tensor is its own master.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        """Take tensors by ``names``, as in ``model.named_parameters()``."""
        parameters = dict(model.named_parameters())
        self.live = {name: parameters[name] for name in names}
        self.masters: dict[str, Tensor] = {
            name: live if live.dtype in WIDE else live.detach().float() for name, live in self.live.items()
        }

    def copies(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return copies of the live tensors of these names."""
        return {name: self.live[name].detach().clone() for name in names}

    def adam(self, lr: float) -> torch.optim.Adam:
        """Create Adam on the masters as published: default eps, no weight decay."""
        masters = list(self.masters.values())
        fused = all(master.device.type in ("cpu", "cuda") for master in masters)
        return torch.optim.Adam(masters, lr=lr, betas=BETAS, fused=fused)

    def collect(self) -> None:
        """Add the gradients to those of the masters, in their precision. Call after each backward pass."""
        for name, live in self.live.items():
            master = self.masters[name]
            if master is not live and live.grad is not None:
                add_gradient(master, live.grad.to(master.dtype))
                live.grad = None

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take one optimiser step, round the result into the live tensors, and clear the gradients."""
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, live in self.live.items():
                if self.masters[name] is not live:
                    live.copy_(self.masters[name])


def add_gradient(tensor: Tensor, gradient: Tensor) -> None:
    """Add ``gradient`` to ``tensor.grad``, as ``backward`` does."""
    tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)


@contextmanager
def training_only(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Set evaluation mode (no dropout) and gradients for these tensors only; restore all flags afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    wanted = set(names)
    model.eval()
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in wanted)
        yield
    finally:
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
