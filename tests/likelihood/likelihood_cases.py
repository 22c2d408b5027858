"""What the likelihood tests share: every architecture as a tiny model, questions to ask it, and the float64 answer."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, Gemma2Config

from canonbench.likelihood.route import reference_log_probs
from canonbench.likelihood.tokens import Request
from tiny_models import ARCHITECTURES, VOCABULARY, tiny_model

FAMILIES = (*ARCHITECTURES, "gemma2")
TOLERANCE = 1e-5
"""Nats per scored token, between the engine in float32 and the reference in float64."""


@cache
def model_of(family: str) -> Any:
    """A tiny model; gemma2 soft-caps attention and logits and slides a window over every other layer."""
    if family != "gemma2":
        return tiny_model(family)
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=8,
        final_logit_softcapping=3.0,
        attn_logit_softcapping=5.0,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.normal_(std=0.2)
    return model.eval()


def questions(seed: int = 0, count: int = 24, longest: int = 40, vocabulary: int = VOCABULARY) -> list[Request]:
    """Random requests that share prefixes, are prefixes of each other, and repeat, as a benchmark's rows do."""
    draw = np.random.default_rng(seed)
    stems = [tuple(draw.integers(0, vocabulary, draw.integers(1, longest // 2)).tolist()) for _ in range(4)]
    requests = []
    for index in range(count):
        stem = stems[index % len(stems)]
        tail = tuple(draw.integers(0, vocabulary, draw.integers(1, longest // 2)).tolist())
        requests.append(Request(stem + tail, len(stem) + int(draw.integers(0, len(tail)))))
    first = requests[0]
    return [*requests, Request(first.ids[:-1] if len(first.ids) > 2 else first.ids, 1), first, Request(first.ids, 1)]


def exact(model: Any, requests: list[Request]) -> list[npt.NDArray[np.float64]]:
    """The reference in float64."""
    return reference_log_probs(copy.deepcopy(model).double(), requests)
