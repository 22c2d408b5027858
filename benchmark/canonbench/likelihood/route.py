"""The plain definition: one sequence at a time, every logit, nothing clever. What the engine must equal.

Whether a model chooses among the tokens of its input, found by watching it.

Which way leads through this very model: found by trying, not by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from canonbench.likelihood.forward import Head, log_probs
from canonbench.likelihood.packs import Kind, Layout, Pack, plan_packs
from canonbench.likelihood.tokens import Request
from canonbench.models import (
    UNLIMITED,
    attention_window,
    context_length,
    most_in_front,
    output_layer,
    readable_ids,
    rope_limit,
    text_config,
    tokens_in_front,
    turning_points,
)


@torch.inference_mode()
def reference_log_probs(model: Any, requests: Sequence[Request]) -> list[npt.NDArray[np.float64]]:
    """Per request, log p of each token of ``ids[start:]`` in nats: logit − logsumexp(logits), in float32 or better."""
    results = []
    for ids, start in requests:
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -len(ids) :]
        logits = logits[start - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32))
        target = torch.tensor(ids[start:], device=logits.device)[:, None]
        log_probs = logits.gather(-1, target)[:, 0] - logits.logsumexp(-1)
        results.append(log_probs.double().cpu().numpy())
    return results


_RANKING = {torch.ops.aten.topk, torch.ops.aten.kthvalue, torch.ops.aten.sort, torch.ops.aten.argsort}


class Watch(TorchDispatchMode):
    """Notes among how many scores are ranked and only some taken, while a model runs one sequence."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.candidates: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator; note it if it ranks scores (ranked integers are token or expert numbers)."""
        given: dict[str, Any] = dict(zip((each.name for each in func._schema.arguments), args, strict=False))
        given |= kwargs or {}
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


class Route(NamedTuple):
    """What a model was found to honour."""

    kind: Kind
    """The layout that shares most and gives right answers."""
    head: Head


LONGEST_PROBE = {"cpu": 2048, "cuda": 8192}
"""Tokens of a sequence that is tried out at most; one sequence after the other is then no worse."""


class _Known(NamedTuple):
    """What was found out of a model."""

    built: Any
    """What it was built of then."""
    route: Route
    points: list[int]
    """Lengths at which it may begin to do something else, as far as short sequences leave that open, ascending."""
    kinds: dict[int, Kind]
    """Layouts that are right for sequences up to a length."""


_KNOWN: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def route(model: Any) -> Route:
    """The fastest right way through short sequences, and all of a model that does not turn with their length.

    It is tried out once, then remembered as long as the model is built the same.
    """
    return _known(model).route


def layout(model: Any, longest: int) -> Layout:
    """How the sequences of a plan may be laid out, the longest of which has ``longest`` tokens.

    No row is longer than what was tried out, as far as the model may turn on the way there.
    """
    config, known = text_config(model), _known(model)
    kind, limit = known.route.kind, tree_limit(model)
    if kind == "tree" and longest > limit:
        kind = "chains"
    if longest + tokens_in_front(model) > rope_limit(config):
        kind = "plain"
    room = next(iter(known.points), UNLIMITED) - 1 - most_in_front(model)
    if kind != "plain" and longest > room:
        kind = _kind_up_to(model, _probe_length(model, longest), kind)
        room = longest
    return Layout(kind, min(limit, room), attention=1 / (6 * getattr(config, "hidden_size", 1024)))


def tree_limit(model: Any) -> int:
    """Tokens that a row of a tree may have: what stands in front of it lies in the attention window too."""
    return attention_window(text_config(model)) - tokens_in_front(model)


def _known(model: Any) -> _Known:
    config, layer = text_config(model), output_layer(model)
    built = (type(layer), model.dtype, model.device, getattr(config, "_attn_implementation", None))
    known = _KNOWN.get(model)
    if known is None or known.built != built:
        # a size is settled by a sequence of four times its length: blocks end within it, and it ends within blocks
        size = _short(model) // 4
        points = [point for point in turning_points(config, model.modules()) if point > size]
        known = _KNOWN[model] = _Known(built, _try_out(model), points, {})
    return known


def _try_out(model: Any) -> Route:
    requests = _probes(model, _short(model))
    truth, chooses = _watched(requests, lambda request: reference_log_probs(model, [request])[0])
    heads: tuple[Head, ...] = ("linear", "tail") if _is_linear(output_layer(model)) else ("tail",)
    head: Head = next((head for head in heads if _right(model, requests, truth, "plain", head)), "logits")
    kinds: tuple[Kind, ...] = ("tree", "chains") if tree_limit(model) > 0 else ("chains",)
    right = (kind for kind in kinds if not chooses and _right(model, requests, truth, kind, head))
    return Route(next(right, "plain"), head)


def _watched(
    requests: list[Request], run: Callable[[Request], npt.NDArray[np.float64]]
) -> tuple[npt.NDArray[np.float64], bool]:
    """The log-probabilities of all requests, each run alone, and whether the model chooses among their tokens."""
    watched = [Watch() for _ in requests]
    found = []
    for request, watch in zip(requests, watched, strict=True):
        with watch:
            found.append(run(request))
    return np.concatenate(found), chooses_among_tokens(watched)


def _kind_up_to(model: Any, length: int, kind: Kind) -> Kind:
    """The layout, ``kind`` or one that shares less, that is right for sequences of ``length`` tokens, and remembered.

    What is right is what each sequence gets in a batch of its own.
    """
    if length <= _short(model):
        return kind
    if length > LONGEST_PROBE.get(model.device.type, LONGEST_PROBE["cuda"]):
        return "plain"
    known = _known(model)
    if length not in known.kinds:
        requests, head = _probes(model, length), known.route.head
        truth, chooses = _watched(requests, lambda request: _answers(model, [request], "plain", head, 1))
        kinds: tuple[Kind, ...] = ("tree", "chains") if kind == "tree" else ("chains",)
        right = (kind for kind in kinds if not chooses and _right(model, requests, truth, kind, head, 2 * length))
        known.kinds[length] = next(right, "plain")
    return known.kinds[length]


def _right(
    model: Any,
    requests: list[Request],
    truth: npt.NDArray[np.float64],
    kind: Kind,
    head: Head,
    batch_tokens: int = 128,
) -> bool:
    """Whether this way gives the answers that one sequence at a time gives."""
    try:
        mine = _answers(model, requests, kind, head, batch_tokens)
    except Exception:  # a model that cannot take these inputs says so in its own way; it goes another
        return False
    # rounding, and no more: a wrong context moves log-probabilities by whole nats. NaN is the caller's to report.
    tolerance = max(1e-4, 64 * torch.finfo(model.dtype).eps)
    return bool(np.allclose(mine, truth, rtol=0, atol=tolerance, equal_nan=True))


def _answers(model: Any, requests: list[Request], kind: Kind, head: Head, batch_tokens: int) -> npt.NDArray[np.float64]:
    """The log-probabilities of all requests, one request after the other."""
    way = Layout(kind, min(tree_limit(model), batch_tokens), attention=1e-3)
    found: dict[int, npt.NDArray[np.float64]] = {}
    for pack in plan_packs(requests, batch_tokens, way):
        found.update(pack.answers(log_probs(model, pack, head)))
    return np.concatenate([found[index] for index in range(len(requests))])


def probe_pack(model: Any) -> Pack:
    """A small pack that any causal model can run."""
    return plan_packs(_probes(model, _short(model))[:1], 1, Layout("chains", UNLIMITED, attention=1e-3))[0]


def _short(model: Any) -> int:
    """Tokens of a sequence that costs next to nothing."""
    return 32 if _room(model, tree_limit(model)) >= 64 else 8


def _probe_length(model: Any, longest: int) -> int:
    """Tokens of a sequence that stands for all up to ``longest``: a little more, so that few lengths are tried out."""
    step = max(8, 1 << max(0, longest.bit_length() - 3))
    window = tree_limit(model)
    return min(-(-(longest + 2) // step) * step, _room(model, window if longest <= window else UNLIMITED))


def _room(model: Any, limit: int) -> int:
    """Tokens that a probe may have, which are no more than ``limit``."""
    rope = rope_limit(text_config(model)) - tokens_in_front(model)
    return min(limit, rope, context_length(model) or UNLIMITED)


def _probes(model: Any, length: int) -> list[Request]:
    """Random sequences of fewer than ``length`` tokens; all their tokens are asked.

    Two branch at once: the shorter stands before the longer in their row, so that every block up to ``length`` holds
    what the longer must not see. The longer has a prefix among the others; two branch later, and a sixth fills the row
    that they leave. Most lengths are odd: branches, ends and neighbours fall within a model's blocks.
    """
    draw = np.random.default_rng(0)

    def some(size: int) -> tuple[int, ...]:
        return tuple(draw.integers(1, readable_ids(model), size).tolist())

    stem = some(3)
    # the last token of a sequence is not fed; the token 0 puts the shorter first
    aside, on = (*stem, 0, *some(2)), stem + some(length - 4)
    early, one, other = (_odd(share * length) for share in (0.3, 0.2, 0.25))
    begin, rest = some(early), some(max(1, length - early - one - other) + 1)
    sequences = [aside, on, on[: _odd(0.61 * length)], begin + some(one + 1), begin + some(other + 1), rest]
    return [Request(ids, 1) for ids in sequences]


def _odd(number: float) -> int:
    return int(number) | 1


def _is_linear(layer: nn.Module) -> bool:
    """Whether calling the layer is ``linear(hidden, weight, bias)`` and nothing else: no adapter, no hook."""
    own = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return type(layer) is nn.Linear and not own
