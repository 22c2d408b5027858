"""The data of training steps: encoded and shuffled canonical examples, and random chunks of regularisation text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from canonbench.editing.contract import EditRequest
from canonbench.errors import CanonbenchError
from canonbench.likelihood import Encoder, Request, check_lengths
from canonbench.models import context_length, vocabulary_size
from canonbench.scoring import losses

T = TypeVar("T")
Encoded = tuple[Request, ...]
"""An encoded canonical example: one request for each continuation that its loss compares."""


class Padded(NamedTuple):
    """Sequences as one right-padded batch, and the positions whose logits are needed."""

    ids: Tensor
    """(B, T)."""
    mask: Tensor
    """(B, T), 1 at tokens."""
    rows: Tensor
    """(R,) indices of those positions in the flattened (B·T), sequence by sequence."""


def padded(sequences: Sequence[tuple[Sequence[int], range]], device: torch.device) -> Padded:
    """Pad token ids on the right. Each sequence comes with the range of positions whose logits are needed."""
    width = max(len(ids) for ids, _ in sequences)
    ids = torch.zeros((len(sequences), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (own, _) in enumerate(sequences):
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    rows = [row * width + position for row, (_, wanted) in enumerate(sequences) for position in wanted]
    return Padded(ids.to(device), mask.to(device), torch.tensor(rows, device=device))


def encode_canonical(model: Any, tokenizer: Any, request: EditRequest[Any]) -> list[Encoded]:
    """Encode the canonical examples as token ids.

    Raises:
        CanonbenchError: there are no examples, or one lacks its second continuation, has no tokens, or is too long.
    """
    arity = losses.loss(request.loss).arity
    pairs, origins = [], []
    for number, example in enumerate(request.canonical, start=1):
        for continuation in (example.suffix_a, example.suffix_b)[:arity]:
            origin = f"task {request.task}, canonical example {number}"
            if continuation is None:
                raise CanonbenchError(f"{origin}: the loss {request.loss!r} compares two continuations, there is one")
            pairs.append((example.prefix, continuation))
            origins.append(origin)
    if not pairs:
        raise CanonbenchError(f"task {request.task} has no canonical examples to train on")
    requests = Encoder.of(tokenizer).pairs(pairs, origins)
    _check_lengths(model, requests, origins)
    return [tuple(requests[first : first + arity]) for first in range(0, len(requests), arity)]


class Chunks:
    """Chunks of regularisation text R, drawn at random and encoded when drawn."""

    def __init__(self, model: Any, tokenizer: Any, texts: Sequence[str], draw: np.random.Generator) -> None:
        """Raise CanonbenchError if there is no text."""
        if not texts:
            raise CanonbenchError(
                "there is no regularisation text to train with: choose a general text that has some, "
                "or set regularizer=l2 or regularizer=none"
            )
        self._model, self._texts, self._draw = model, texts, draw
        self._encoder = Encoder.of(tokenizer)

    def draw(self, count: int) -> list[Request]:
        """Draw ``count`` chunks uniformly, with replacement. CanonbenchError if one is too long for the model."""
        return self._encode(self._draw.integers(len(self._texts), size=count))

    def draw_distinct(self, count: int) -> list[Request]:
        """Draw ``count`` different chunks, or all of R if it has fewer."""
        return self._encode(self._draw.permutation(len(self._texts))[:count])

    def _encode(self, numbers: Sequence[int] | np.typing.NDArray[np.int64]) -> list[Request]:
        origins = [f"regularisation text, chunk {number + 1}" for number in numbers]
        requests = self._encoder.texts([self._texts[int(number)] for number in numbers], origins)
        _check_lengths(self._model, requests, origins)
        return requests


def _check_lengths(model: Any, requests: Sequence[Request], origins: Sequence[str]) -> None:
    check_lengths(requests, origins, context=context_length(model), vocabulary=vocabulary_size(model))


def shuffled_batches(items: Sequence[T], size: int, draw: np.random.Generator) -> Iterator[list[T]]:
    """Yield batches of ``size`` items, each item once and in random order; the last batch may be smaller."""
    order = draw.permutation(len(items))
    for first in range(0, len(order), size):
        yield [items[index] for index in order[first : first + size]]


def grouped(items: Sequence[T], tokens: Callable[[T], Sequence[int]], most: int) -> Iterator[list[T]]:
    """Group consecutive items so that each padded group has at most ``most`` tokens; a larger item comes alone.

    ``tokens`` returns the lengths of an item's sequences.
    """
    group: list[T] = []
    longest = rows = 0
    for item in items:
        lengths = tokens(item)
        longest, rows = max(longest, *lengths), rows + len(lengths)
        if group and longest * rows > most:
            yield group
            group, longest, rows = [], max(lengths), len(lengths)
        group.append(item)
    if group:
        yield group
