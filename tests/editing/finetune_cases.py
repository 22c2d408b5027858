"""What the finetuning tests share: examples, a request, and a training loop written independently of canonbench's.

The reference takes one sequence at a time, unpadded, makes every logit, holds a second model as the teacher, and knows
nothing of canonbench but its settings. Its epochs have one batch, of all the examples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.settings import FinetuneSettings
from canonbench.suite.example import Example
from tiny_models import tiny_tokenizer

CHUNK = "The old mill stood by the river, and nobody in the village knew why."
CHUNKS = [
    CHUNK,
    "A train left before noon.",
    "Rain fell for three days; then the winter storm came, and the ships stayed.",
]

CANONICAL = [
    Example("The capital of France is", " Paris", " Lyon"),
    Example("In the spring of this year the capital of Japan is", " Tokyo", " the old town"),
    Example("Rome", " is in Italy", " sleeps"),
]


def ask(settings: Any, *, loss: str = "nll", seed: int = 0, **changes: Any) -> EditRequest[Any]:
    """A request to learn CANONICAL by ``settings``, with one chunk of regularisation text."""
    given: dict[str, Any] = {
        "task": "made-up",
        "loss": loss,
        "canonical": CANONICAL,
        "regularization": [CHUNK],
        "seed": seed,
        "hyperparameters": settings,
    }
    return EditRequest(**{**given, **changes})


def last(candidates: Iterator[Any]) -> Any:
    """The candidate of the last epoch."""
    *_, candidate = candidates
    return candidate


def weights_of(model: Any) -> dict[str, Tensor]:
    """Copies of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@contextmanager
def gradients_of_steps() -> Iterator[list[list[Tensor]]]:
    """The gradients that any optimiser is about to apply, step by step, in the order of its parameters."""
    seen: list[list[Tensor]] = []

    def keep(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        seen.append([parameter.grad.clone() for group in optimizer.param_groups for parameter in group["params"]])

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def reference_steps(
    model: Any, settings: FinetuneSettings, loss: str, examples: Sequence[Example] = CANONICAL
) -> list[list[Tensor]]:
    """Train in place, one step per epoch on all examples; the gradients of every step, in the order of parameters."""
    base = copy.deepcopy(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in trained]
    importance = [torch.ones_like(parameter) for parameter in trained]
    if settings.regularizer == "ewc":
        log_p(model, "", CHUNK).sum().backward()
        importance = [parameter.grad**2 for parameter in trained]
        model.zero_grad()
    adam = torch.optim.Adam(trained, lr=settings.lr, betas=(0.9, 0.995), eps=1e-8)
    steps = []
    for epoch in range(settings.epochs):
        adam.param_groups[0]["lr"] = settings.lr / 2 * (1 + math.cos(math.pi * epoch / settings.epochs))
        total = sum(example_loss(model, example, loss) for example in examples) / len(examples)
        if settings.regularizer == "kl":
            total = total + settings.regularizer_weight * divergence(base, model, CHUNK)
        elif settings.regularizer != "none":
            parts = zip(trained, start, importance, strict=True)
            total = total + settings.regularizer_weight * sum((f * (p - p_0) ** 2).sum() for p, p_0, f in parts)
        adam.zero_grad()
        total.backward()
        steps.append([parameter.grad.clone() for parameter in trained])
        adam.step()
    return steps


def example_loss(model: Any, example: Example, loss: str) -> Tensor:
    """docs/reference/protocol.md#2-tasks, of means per token."""
    a = log_p(model, example.prefix, example.suffix_a).mean()
    if loss in ("nll", "likelihood"):
        return -a if loss == "nll" else a
    assert example.suffix_b is not None
    b = log_p(model, example.prefix, example.suffix_b).mean()
    return (a - b).abs() if loss == "balance" else b - a


def log_p(model: Any, prefix: str, continuation: str) -> Tensor:
    """Log-probability of each token of the continuation; of all but the first where there is no prefix."""
    left, right = (tiny_tokenizer("plain")(text)["input_ids"] for text in (prefix, continuation))
    ids = left + right
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -len(ids) :]
    table = logits.log_softmax(-1)
    return torch.stack([table[place - 1, ids[place]] for place in range(max(1, len(left)), len(ids))])


def divergence(base: Any, model: Any, text: str) -> Tensor:
    """Σ_t KL(p_0 ‖ p), t over all tokens of the text."""
    ids = torch.tensor([tiny_tokenizer("plain")(text)["input_ids"]])
    with torch.no_grad():
        p_0 = base(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :].softmax(-1)
    log_p = model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :].log_softmax(-1)
    return (p_0 * (p_0.log() - log_p)).sum()
