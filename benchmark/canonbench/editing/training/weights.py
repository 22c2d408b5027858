"""The tensors that train: float32 masters above weights of lower precision, Adam on the masters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.995)
"""Of Adam, as published (docs/reference/protocol.md#8-methods)."""
WIDE = (torch.float32, torch.float64)


class Weights:
    """The model's tensors of the given names and, for each, a master copy that the optimiser works on.

    A step at a learning rate of 1e-5 or less is smaller than what bfloat16 and float16 can tell apart: added to such
    a weight it would be lost, so it is added to a float32 copy, which is then rounded. A float32 tensor is its own
    master.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        """``names`` are those of ``model.named_parameters()``."""
        parameters = dict(model.named_parameters())
        self.live = {name: parameters[name] for name in names}
        self.masters: dict[str, Tensor] = {
            name: live if live.dtype in WIDE else live.detach().float() for name, live in self.live.items()
        }

    def copies(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The live tensors of these names, as they are now."""
        return {name: self.live[name].detach().clone() for name in names}

    def adam(self, lr: float) -> torch.optim.Adam:
        """Adam as published: default eps, no weight decay."""
        masters = list(self.masters.values())
        fused = all(master.device.type in ("cpu", "cuda") for master in masters)
        return torch.optim.Adam(masters, lr=lr, betas=BETAS, fused=fused)

    def collect(self) -> None:
        """After a backward pass: add the gradients to the masters', in their precision."""
        for name, live in self.live.items():
            master = self.masters[name]
            if master is not live and live.grad is not None:
                add_gradient(master, live.grad.to(master.dtype))
                live.grad = None

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step of the optimiser, rounded to the live tensors; gradients are gone afterwards."""
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, live in self.live.items():
                if self.masters[name] is not live:
                    live.copy_(self.masters[name])


def add_gradient(tensor: Tensor, gradient: Tensor) -> None:
    """What ``backward`` does with a gradient."""
    tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)


@contextmanager
def training_only(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Evaluation mode (dropout off), gradients for these tensors only; afterwards every flag is as it was."""
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
