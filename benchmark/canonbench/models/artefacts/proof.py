"""Check that an artefact holds everything a candidate changed: both must give bitwise equal log-probabilities.

An artefact of a plain model holds only weights. A hook, a replaced ``forward`` or a changed epsilon would be lost, and
the artefact would not be the model that was scored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Answers = list[Tensor]
"""Log-probabilities (nats) of each sequence's tokens after the first, float64, on the CPU."""


def answers(model: Any, sequences: Sequence[Sequence[int]]) -> Answers:
    """Log-probabilities of token sequences by the model's own ``forward``, one sequence at a time without a cache.

    Args:
        model: a causal LM in evaluation mode.
        sequences: token ids, each of at least two tokens.
    """
    return _answers(model, model.device, sequences)


def differ(one: Answers, other: Answers) -> float:
    """The largest difference between two answers in nats: 0 if bitwise equal, infinity if only one is NaN."""
    apart = 0.0
    for mine, theirs in zip(one, other, strict=True):
        odd = (mine != theirs) & ~(mine.isnan() & theirs.isnan())
        apart = max(apart, float((mine - theirs).abs()[odd].nan_to_num(torch.inf).max()) if odd.any() else 0.0)
    return apart


class Skeleton:
    """A base model's code and settings without its weights, to run a candidate's weights in."""

    def __init__(self, model: nn.Module) -> None:
        """Copy ``model`` without its weights, so it takes almost no memory. Call before a method changes ``model``."""
        weights = model.state_dict(keep_vars=True)
        self.names = weights.keys()
        self.model: Any = copy.deepcopy(model, {id(each): _without_data(each) for each in weights.values()})

    def fits(self, model: Any) -> bool:
        """Whether a candidate has the base's class and weight names, so that its artefact would hold only weights."""
        return type(model) is type(self.model) and model.state_dict().keys() == self.names

    def answers(self, model: Any, sequences: Sequence[Sequence[int]]) -> Answers:
        """Log-probabilities by the base's code with a candidate's weights, in the base's memory layout.

        The candidate must fit (see ``fits``).
        """
        bones = self.model.state_dict(keep_vars=True)
        weights = {
            name: weight if weight.stride() == bones[name].stride() else weight.contiguous()
            for name, weight in model.state_dict(keep_vars=True).items()
        }

        def call(**inputs: Any) -> Any:
            return functional_call(self.model, weights, args=(), kwargs=inputs, tie_weights=False)

        return _answers(call, model.device, sequences)

    def lost(self, model: Any) -> str:
        """Describe the first difference between a candidate and its base, weights apart, for a message."""
        others = dict(self.model.named_modules())
        for name, module in model.named_modules():
            for found in _odd(name or type(model).__name__, module, others.get(name)):
                return found
        for name, value in _settings(model).items():
            if value != _settings(self.model).get(name):
                return f"the configuration's {name} = {value!r}"
        return "something that is not among its weights"


@torch.inference_mode()
def _answers(call: Callable[..., Any], device: torch.device, sequences: Sequence[Sequence[int]]) -> Answers:
    found = []
    for sequence in sequences:
        ids = torch.tensor([sequence], device=device)
        logits = call(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -len(sequence) :]
        log_probs = logits[:-1].double().log_softmax(-1)
        found.append(log_probs.gather(1, ids[0, 1:, None])[:, 0].cpu())
    return found


def _without_data(tensor: Tensor) -> Tensor:
    bare = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(bare, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare


def _odd(name: str, module: nn.Module, other: nn.Module | None) -> Iterator[str]:
    """Yield descriptions of how a module differs from the base's module of the same name."""
    if type(module) is not type(other) or other is None:
        yield f"a module of another kind, {name} ({type(module).__name__})"
        return
    for kind in ("_forward_pre_hooks", "_forward_hooks"):
        if len(getattr(module, kind)) != len(getattr(other, kind)):
            yield f"a hook on {name}"
    mine, its = vars(module), vars(other)
    for key, value in mine.items():
        if key in ("training", "gradient_checkpointing") or key.startswith("_"):
            continue
        if callable(value) and key not in its:
            yield f"a {key} of its own in {name}"
        elif isinstance(value, bool | int | float | str | None) and value != its.get(key):
            yield f"{name}.{key} = {value!r} ({its.get(key)!r} in the base)"
    for key, buffer in module.named_buffers(recurse=False):
        theirs = getattr(other, key, None)
        if isinstance(theirs, Tensor) and not theirs.is_meta and not torch.equal(buffer, theirs):
            yield f"{name}.{key}, which no checkpoint holds"


def _settings(model: Any) -> dict[str, Any]:
    config = model.config
    return {**config.to_dict(), "attention": getattr(config, "_attn_implementation", None)}
