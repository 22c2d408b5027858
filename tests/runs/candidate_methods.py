"""Methods for the tests of edit runs: small, quick, and each wrong in its own way."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic.dataclasses import dataclass as settings

from canonbench.editing.contract import EditRequest

DOWN = "model.layers.1.mlp.down_proj.weight"


def down(model: Any) -> torch.Tensor:
    """The last block's down-projection."""
    return model.get_parameter(DOWN).data


@settings(frozen=True)
class Growing:
    by: float = 1e-4
    """What the down-projection is scaled by, at each candidate."""
    epochs: int = 3
    """Candidates."""


def growing(model: Any, tokenizer: Any, request: EditRequest[Growing]) -> Iterator[Any]:
    """The same object, changed further for every candidate; random by the seed."""
    draw = torch.Generator().manual_seed(request.seed)
    for step in range(request.hyperparameters.epochs):
        weight = down(model)
        noise = 1 + 0.1 * torch.rand(weight.shape, generator=draw)
        weight.mul_(1 + request.hyperparameters.by * noise)
        request.report(step + 1, request.hyperparameters.epochs, 1.0 / (step + 1))
        yield model


def plain(model: Any, tokenizer: Any, request: EditRequest[dict[str, Any]]) -> Any:
    """Returns one model."""
    down(model).mul_(1 + float(request.hyperparameters.get("by", 1e-5)))
    return model


def untouched(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    return model


def then_raises(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    down(model).mul_(1 + 1e-5)
    yield model
    raise ValueError("out of\nideas")


def raises(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    raise ValueError("no idea")


def nan(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    down(model)[0, 0] = float("nan")
    return model


def then_nan(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    down(model).mul_(1 + 1e-5)
    yield model
    yield nan(model, tokenizer, request)


def overflowing(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """Finite weights, infinite logits."""
    model.get_output_embeddings().weight.data.mul_(1e38)
    return model


def other_architecture(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.lm_head.extra = torch.nn.Linear(2, 2)
    return model


def other_vocabulary(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.resize_token_embeddings(400)
    return model


def no_model(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    return "done"


def training_mode(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    down(model).mul_(1 + 1e-5)
    return model.train()


def ruinous(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    """Far outside every league."""
    model.get_output_embeddings().weight.data.mul_(20.0)
    yield model


def seen(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """Writes down all that it was told."""
    SEEN.append(request)
    down(model).mul_(1 + 1e-5)
    return model


SEEN: list[EditRequest[Any]] = []


def exits(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    sys.exit(3)


def then_exits(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    down(model).mul_(1 + 1e-5)
    yield model
    sys.exit(3)


def drawing(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    """Random by the states that all of a process shares, which it never seeds."""
    for _ in range(3):
        amount = 1e-5 * (random.random() + np.random.rand() + torch.rand(()).item())
        down(model).mul_(1 + amount)
        yield model


def careless(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    """Leaves the process in a state that nobody else wants, and relies on it itself."""
    for step in range(2):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(3)
        np.seterr(all="raise")
        os.chdir("/")
        os.environ["CANONBENCH_TEST_LEFT"] = "1"
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        down(model).mul_(1 + 1e-5)
        yield model
        STILL.append((step, torch.get_default_dtype(), torch.is_grad_enabled(), str(Path.cwd())))


STILL: list[tuple[Any, ...]] = []
"""What ``careless`` finds when it goes on."""


def never_ending(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    """Will not be stopped."""
    try:
        while True:
            down(model).mul_(1 + 1e-6)
            yield model
    finally:
        torch.set_default_dtype(torch.float64)
        sys.exit(4)
