"""Which way leads through this very model: found by trying, not by its name."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from canonbench.likelihood.forward import log_probs
from canonbench.likelihood.head import Head
from canonbench.likelihood.pack import Pack
from canonbench.likelihood.plan import Kind, Layout, plan_packs
from canonbench.likelihood.reference import reference_log_probs
from canonbench.likelihood.tokens import Request
from canonbench.models.face import (
    UNLIMITED,
    attention_window,
    context_length,
    output_layer,
    readable_ids,
    rope_limit,
    text_config,
    tokens_in_front,
)


class Route(NamedTuple):
    """What a model was found to honour."""

    kind: Kind
    """The layout that shares most and gives right answers."""
    head: Head


_KNOWN: WeakKeyDictionary[Any, tuple[Any, Route]] = WeakKeyDictionary()


def route(model: Any) -> Route:
    """The fastest right way through a model; tried out once, then remembered as long as the model is built the same."""
    config, layer = text_config(model), output_layer(model)
    built = (type(layer), model.dtype, model.device, getattr(config, "_attn_implementation", None))
    known = _KNOWN.get(model)
    if known is None or known[0] != built:
        known = _KNOWN[model] = (built, _try_out(model))
    return known[1]


def layout(model: Any, longest: int) -> Layout:
    """How the sequences of a plan may be laid out, the longest of which has ``longest`` tokens."""
    config = text_config(model)
    kind = route(model).kind
    limit = tree_limit(model)
    if kind == "tree" and longest > limit:
        kind = "chains"
    if longest + tokens_in_front(model) > rope_limit(config):
        kind = "plain"
    return Layout(kind, limit, attention=1 / (6 * getattr(config, "hidden_size", 1024)))


def tree_limit(model: Any) -> int:
    """Tokens that a row of a tree may have: what stands in front of it lies in the attention window too."""
    return attention_window(text_config(model)) - tokens_in_front(model)


def _try_out(model: Any) -> Route:
    requests = _probes(model)
    truth = np.concatenate(reference_log_probs(model, requests))
    heads: tuple[Head, ...] = ("linear", "tail") if _is_linear(output_layer(model)) else ("tail",)
    head: Head = next((head for head in heads if _right(model, requests, truth, "plain", head)), "logits")
    kinds: tuple[Kind, ...] = ("tree", "chains") if tree_limit(model) > 0 else ("chains",)
    kind: Kind = next((kind for kind in kinds if _right(model, requests, truth, kind, head)), "plain")
    return Route(kind, head)


def _right(model: Any, requests: list[Request], truth: npt.NDArray[np.float64], kind: Kind, head: Head) -> bool:
    """Whether this way gives the answers that one sequence at a time gives."""
    way = Layout(kind, tree_limit(model), attention=1e-3)
    found: dict[int, npt.NDArray[np.float64]] = {}
    try:
        for pack in plan_packs(requests, 128, way):
            found.update(pack.answers(log_probs(model, pack, head)))
    except Exception:  # a model that cannot take these inputs says so in its own way; it goes another
        return False
    mine = np.concatenate([found[index] for index in range(len(requests))])
    # rounding, and no more: a wrong context moves log-probabilities by whole nats. NaN is the caller's to report.
    tolerance = max(1e-4, 64 * torch.finfo(model.dtype).eps)
    return bool(np.allclose(mine, truth, rtol=0, atol=tolerance, equal_nan=True))


def probe_pack(model: Any) -> Pack:
    """A small pack that any causal model can run."""
    return plan_packs(_probes(model)[:1], 1, Layout("chains", UNLIMITED, attention=1e-3))[0]


def _probes(model: Any) -> list[Request]:
    """Random sequences that branch, are prefixes of each other, and differ in length; all their tokens are asked."""
    rope = rope_limit(text_config(model)) - tokens_in_front(model)
    room = min(tree_limit(model), rope, context_length(model) or UNLIMITED)
    scale = 4 if room >= 64 else 1
    draw = np.random.default_rng(0)
    stem, left, right, alone, short = (
        tuple(draw.integers(0, readable_ids(model), scale * n).tolist()) for n in (3, 2, 3, 8, 4)
    )
    sequences = [stem + left, stem + right, (stem + right)[:-1], alone, short]
    return [Request(ids, 1) for ids in sequences]


def _is_linear(layer: nn.Module) -> bool:
    """Whether calling the layer is ``linear(hidden, weight, bias)`` and nothing else: no adapter, no hook."""
    own = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return type(layer) is nn.Linear and not own
