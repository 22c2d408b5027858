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
from peft import LoraConfig, PromptTuningConfig, get_peft_model
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


def _edited(model: Any) -> Any:
    down(model).mul_(1 + 1e-5)
    return model


def hooks_a_block(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.model.layers[0].register_forward_hook(lambda _module, _args, out: out * 1.001)
    return _edited(model)


def hooks_and_nothing_else(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.model.layers[0].register_forward_hook(lambda _module, _args, out: out * 1.001)
    return model


def hooks_the_output_layer(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.lm_head.register_forward_hook(lambda _module, _args, out: out * 1.001)
    return _edited(model)


def patches_forward(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    mlp = model.model.layers[1].mlp
    forward = mlp.forward
    mlp.forward = lambda hidden: forward(hidden) * 1.001
    return _edited(model)


def wraps_logits(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    forward = model.forward

    def wrapped(*args: Any, **inputs: Any) -> Any:
        output = forward(*args, **inputs)
        output.logits = output.logits * 1.001
        return output

    model.forward = wrapped
    return _edited(model)


def changes_an_epsilon(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.model.norm.variance_epsilon *= 2
    return _edited(model)


def changes_the_configuration(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.config.rms_norm_eps *= 2
    return _edited(model)


def turns_by_other_angles(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.model.rotary_emb.inv_freq.mul_(1.001)
    return _edited(model)


def patches_the_class(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """As some method code does, for all models of the process; a test undoes it."""
    mlp = type(model.model.layers[1].mlp)
    forward = mlp.forward
    mlp.forward = lambda self, hidden: forward(self, hidden) * 1.001
    return _edited(model)


def tunes_a_prompt(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """An adapter that is never merged."""
    return get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=1))


def hooks_under_an_adapter(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.lm_head.register_forward_hook(lambda _module, _args, out: out * 1.001)
    return tunes_a_prompt(model, tokenizer, request)


def hooks_under_a_merged_adapter(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    model.lm_head.register_forward_hook(lambda _module, _args, out: out * 1.001)
    found = get_peft_model(model, LoraConfig(target_modules=["down_proj"], r=1, init_lora_weights=False))
    for name, weight in found.named_parameters():
        if "lora" in name:
            weight.data.mul_(1e-3)
    return found


def then_hooks(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    yield _edited(model)
    yield hooks_the_output_layer(model, tokenizer, request)


def ties(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """Two matrices become one, of other values than both had."""
    first, second = (layer.mlp.down_proj for layer in model.model.layers)
    first.weight.data.mul_(1 + 1e-6)
    second.weight.data.copy_(first.weight.data)
    second.weight = first.weight
    return model


def lays_out_otherwise(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """The same values by other strides, in one piece of memory with another matrix."""
    _edited(model)
    first, second = (layer.mlp.down_proj for layer in model.model.layers)
    both = torch.stack([first.weight.data.t(), second.weight.data.t() * (1 + 1e-5)])
    first.weight.data, second.weight.data = both[0].t(), both[1].t()
    return model
