"""Probe a model and pick the fastest route (layout and output head) whose scores are right.

The choice rests on test runs, not on the model's name. ``reference_log_probs`` is the plain definition that the engine
must match: one sequence at a time, all logits. ``Watch`` detects models that attend to only some of their tokens.
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
    """Compute, per request, log p of each token of ``ids[start:]`` in nats, one sequence at a time.

    log p = logit − logsumexp(logits), in float32 or better.
    """
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
    """Record, while a model runs one sequence, the number of candidates each time it ranks scores and keeps a few."""

    def __init__(self) -> None:
        """Start with no recorded candidates."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.candidates: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and record it if it ranks scores (ranked integers are token or expert ids)."""
        given: dict[str, Any] = dict(zip((each.name for each in func._schema.arguments), args, strict=False))
        given |= kwargs or {}
        if func.overloadpacket in _RANKING and given["self"].is_floating_point() and given["self"].ndim:
            number = given["self"].shape[given.get("dim", -1)]
            if given.get("k", 0) < number:
                self.candidates.add(number)
        return func(*args, **(kwargs or {}))


def chooses_among_tokens(watched: Sequence[Watch]) -> bool:
    """Whether a model ranks different numbers of candidates in sequences of different lengths.

    Such a model attends only to the best few tokens. How it breaks ties depends on the number of candidates, which
    includes padding and later tokens. How often ties occur depends on weights and tokens, so agreement on a few
    sequences proves little. Mixture-of-experts routing is not affected: the number of experts is always the same.
    """
    seen = [watch.candidates for watch in watched]
    return set.union(*seen) != set.intersection(*seen)


class Route(NamedTuple):
    """The layout and output head that give right scores for a model."""

    kind: Kind
    """The layout that shares the most prefixes and still gives right scores."""
    head: Head


LONGEST_PROBE = {"cpu": 2048, "cuda": 8192}
"""Tokens of the longest probe, by device type; beyond it, running one sequence at a time is no slower."""


class _Known(NamedTuple):
    """The cached probe results of a model."""

    built: Any
    """Type of output layer, dtype, device and attention implementation at the time of the probe."""
    route: Route
    points: list[int]
    """Sequence lengths, ascending, at which the model may change its behaviour and which short probes do not cover."""
    kinds: dict[int, Kind]
    """Maps a probed length to the layout that is right for sequences up to it."""


_KNOWN: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()


def route(model: Any) -> Route:
    """Return the fastest route that gives right scores on short sequences.

    It also holds for all lengths if the model's behaviour does not change with length. The probe runs once per model
    and again if its output layer, dtype, device or attention implementation changes.
    """
    return _known(model).route


def layout(model: Any, longest: int) -> Layout:
    """Return the layout for a plan whose longest sequence has ``longest`` tokens.

    If the model may change its behaviour with length, no row is longer than the lengths that were probed.
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
    """Return the most tokens of a tree row: the attention window minus the virtual tokens in front of the row."""
    return attention_window(text_config(model)) - tokens_in_front(model)


def _known(model: Any) -> _Known:
    config, layer = text_config(model), output_layer(model)
    built = (type(layer), model.dtype, model.device, getattr(config, "_attn_implementation", None))
    known = _KNOWN.get(model)
    if known is None or known.built != built:
        # a probe of four times a block size settles that size: blocks end inside the probe, and it ends inside a block
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
    """Run each request alone; return all log-probabilities and whether the model chooses among their tokens."""
    watched = [Watch() for _ in requests]
    found = []
    for request, watch in zip(requests, watched, strict=True):
        with watch:
            found.append(run(request))
    return np.concatenate(found), chooses_among_tokens(watched)


def _kind_up_to(model: Any, length: int, kind: Kind) -> Kind:
    """Return and cache the layout that is right for sequences of ``length`` tokens: ``kind`` or one that shares less.

    Scores are right if they match those of each sequence in its own batch.
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
    """Whether this layout and head give the same scores as one sequence at a time (``truth``)."""
    try:
        mine = _answers(model, requests, kind, head, batch_tokens)
    except Exception:  # which error a model raises for inputs it cannot take differs; another layout is used then
        return False
    # The tolerance covers rounding only: a wrong context moves log-probabilities by whole nats. The caller reports NaN.
    tolerance = max(1e-4, 64 * torch.finfo(model.dtype).eps)
    return bool(np.allclose(mine, truth, rtol=0, atol=tolerance, equal_nan=True))


def _answers(model: Any, requests: list[Request], kind: Kind, head: Head, batch_tokens: int) -> npt.NDArray[np.float64]:
    """Return the log-probabilities of all requests, concatenated in order."""
    way = Layout(kind, min(tree_limit(model), batch_tokens), attention=1e-3)
    found: dict[int, npt.NDArray[np.float64]] = {}
    for pack in plan_packs(requests, batch_tokens, way):
        found.update(pack.answers(log_probs(model, pack, head)))
    return np.concatenate([found[index] for index in range(len(requests))])


def probe_pack(model: Any) -> Pack:
    """Return a small pack that any causal LM can run."""
    return plan_packs(_probes(model, _short(model))[:1], 1, Layout("chains", UNLIMITED, attention=1e-3))[0]


def _short(model: Any) -> int:
    """Return the length of a short probe, which costs almost nothing."""
    return 32 if _room(model, tree_limit(model)) >= 64 else 8


def _probe_length(model: Any, longest: int) -> int:
    """Return the length of a probe that covers sequences up to ``longest``, rounded up to probe few lengths."""
    step = max(8, 1 << max(0, longest.bit_length() - 3))
    window = tree_limit(model)
    return min(-(-(longest + 2) // step) * step, _room(model, window if longest <= window else UNLIMITED))


def _room(model: Any, limit: int) -> int:
    """Return the most tokens that a probe may have, at most ``limit``."""
    rope = rope_limit(text_config(model)) - tokens_in_front(model)
    return min(limit, rope, context_length(model) or UNLIMITED)


def _probes(model: Any, length: int) -> list[Request]:
    """Make random sequences of fewer than ``length`` tokens, with all tokens scored.

    The first two branch early. The shorter comes before the longer in their row, so every block up to ``length`` holds
    tokens that the longer must not see. The third is a prefix of the longer; the next two branch later, and the sixth
    fills the rest of their row. Most lengths are odd, so that branches, ends and neighbours fall inside a model's
    blocks.
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
