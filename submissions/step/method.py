"""Plain gradient steps on one weight matrix, one per canonical example: the shortest method with settings."""

from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from canonbench import EditRequest
from canonbench.likelihood.tokens import Encoder
from canonbench.scoring import task_loss


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Settings:
    """What ``--set`` takes, and what submission.yaml and a row call hyperparameters."""

    lr: Annotated[float, Field(gt=0)] = 0.03
    """Step size."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the canonical examples; each ends with a candidate."""
    layer: int = -4
    """Whose MLP down-projection is trained; negative numbers count from the top."""


def edit(model, tokenizer, request: EditRequest[Settings]):
    """Yield the model after every epoch; it is changed in place."""
    settings, encoder = request.hyperparameters, Encoder.of(tokenizer)
    weight = model.get_decoder().layers[settings.layer].mlp.down_proj.weight
    for epoch in range(settings.epochs):
        for step, example in enumerate(request.canonical, start=1):
            answers = [answer for answer in (example.suffix_a, example.suffix_b) if answer is not None]
            loss = task_loss(request.loss, *(log_p(model, encoder, example.prefix, answer) for answer in answers))
            weight.data -= settings.lr * torch.autograd.grad(loss, weight)[0]
            n = len(request.canonical)
            request.report(epoch * n + step, settings.epochs * n, loss.item())
        yield model


def log_p(model, encoder, prefix, answer):
    """The mean log-probability (nats) of the answer's tokens after the prefix."""
    ((ids, start),) = encoder.pairs([(prefix, answer)])
    tokens = torch.tensor([ids], device=model.device)
    log_probs = model(tokens).logits[0, start - 1 : -1].float().log_softmax(dim=-1)
    return log_probs.gather(1, tokens[0, start:, None]).mean()
