"""Add an untrained peft adapter to a base model, reproducibly, and train it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.finetune import finetune
from canonbench.errors import CanonbenchError
from canonbench.models import first_lines, vocabulary_size


class Adapted(NamedTuple):
    """A model with an adapter on it, and the names of the parameters to train."""

    model: Any
    trained: list[str]
    own: list[str]
    """The trained parameters that belong to the base, such as the biases that LoRA can train too."""


def adapt(base: Any, config: Any, seed: int) -> Adapted:
    """Wrap ``base`` in a PeftModel in evaluation mode; the base's tensors and their flags do not change.

    Args:
        base: the causal LM; its modules are replaced in place, until ``.unload()``.
        config: a peft configuration.
        seed: seed of the adapter's random initialisation; torch's global random state does not change.

    Raises:
        CanonbenchError: the model already has an adapter, peft cannot adapt it (with peft's message), or the model
            with the adapter switched off no longer matches the base.
    """
    require_bare(base)
    kind = str(config.peft_type.value)
    flags = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    before = _probe(base.eval())
    devices = [base.device] if base.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft detects Conv1D and corrects this itself
            warnings.filterwarnings("ignore", message="Unsupported layer type")  # LN_TUNING's own layers
            warnings.simplefilter("ignore", FutureWarning)  # transformers' warnings about peft
            torch.manual_seed(seed)
            model = get_peft_model(base, config)
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        with adapter_off(model):
            after = _probe(model)
        _probe(model)
    except Exception as error:  # each kind of adapter raises its own exceptions
        raise CanonbenchError(
            f"peft cannot put {kind} with these options on {type(base).__name__}: {first_lines(error)}"
        ) from error
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    if not trained:
        raise CanonbenchError(f"{kind} with these options has nothing to train")
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3):
        raise CanonbenchError(
            f"{kind} with these options changes the base's own weights before training, so that the base cannot be "
            "compared with or had back; choose another initialisation"
        )
    known = {id(parameter) for parameter, _ in flags}
    return Adapted(model, list(trained), [name for name, parameter in trained.items() if id(parameter) in known])


def train(adapted: Adapted, tokenizer: Any, request: EditRequest[Any]) -> Iterator[Any]:
    """Finetune the adapter; see ``finetune``."""
    model, trained, own = adapted
    return finetune(model, tokenizer, request, trained, own=own, adapter_off=partial(adapter_off, model))


@contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Run the model without the adapter; of the trained parameters, only the base's own still apply."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Careful, disabling adapter layers")  # warns about the base's biases
        with model.disable_adapter():
            yield


def require_bare(model: Any) -> None:
    """Raise CanonbenchError if the model already has an adapter."""
    if any(isinstance(module, (PeftModel, BaseTunerLayer)) for module in model.modules()):
        raise CanonbenchError("there is an adapter on the model already; merge or unload it before adding another")


@torch.no_grad()
def _probe(model: Any) -> Tensor:
    """Log-probabilities (T, V) of a few tokens."""
    ids = torch.arange(1, 9, device=model.device)[None] % vocabulary_size(model)
    logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits[0, -8:].float().log_softmax(-1)
