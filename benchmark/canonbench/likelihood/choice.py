"""Whether a model chooses among the tokens of its input, found by watching it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_RANKING = {torch.ops.aten.topk, torch.ops.aten.kthvalue, torch.ops.aten.sort, torch.ops.aten.argsort}


class Watch(TorchDispatchMode):
    """Notes among how many scores are ranked and only some taken, while a model runs one sequence."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.candidates: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator; note it if it ranks scores. Integers are ranked only to group tokens by their expert."""
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | (kwargs or {})
        if func.overloadpacket in _RANKING and given["self"].is_floating_point() and given["self"].ndim:
            number = given["self"].shape[given.get("dim", -1)]
            if given.get("k", 0) < number:
                self.candidates.add(number)
        return func(*args, **(kwargs or {}))


def chooses_among_tokens(watched: Sequence[Watch]) -> bool:
    """Whether a model that was watched on sequences of different lengths ranks more candidates in the longer ones.

    Such a model attends to the best few, and which of equals are taken depends on how many there are to choose from,
    padding and later tokens among them. How often scores are equal is up to weights and tokens, so agreement on a few
    sequences says little. Experts are chosen from as many for every sequence.
    """
    seen = [watch.candidates for watch in watched]
    return set.union(*seen) != set.intersection(*seen)
