"""A pack: what goes through the model at once, and which of its positions are scored for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from canonbench.likelihood.tokens import Request

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pack:
    """A dense (B, T) batch of token ids and the scored tokens in it.

    Right padding: in a causal model no position sees what comes after it, so pads need no mask.
    """

    ids: Ints
    """(B, T) token ids."""
    rows: Ints
    """(R,) flat positions in B·T whose hidden states go through the output layer, each once."""
    row: Ints
    """(S,) per scored token: which of ``rows`` predicts it."""
    target: Ints
    """(S,) per scored token: its id."""
    request: Ints
    """(S,) per scored token: the request it belongs to; a request's tokens stand in order."""
    n_tokens: int
    """Tokens that are not padding."""

    @property
    def requests(self) -> list[int]:
        """The requests that this pack answers."""
        return sorted(set(self.request.tolist()))


def pack_sequences(requests: Sequence[Request], members: Sequence[int]) -> Pack:
    """One request per row, padded on the right to the longest."""
    length = max(len(requests[member].ids) for member in members)
    ids = np.zeros((len(members), length), dtype=np.int64)
    rows, targets, owners = [], [], []
    for place, member in enumerate(members):
        tokens, start = requests[member]
        ids[place, : len(tokens)] = tokens
        rows.append(place * length + np.arange(start - 1, len(tokens) - 1))
        targets.append(np.asarray(tokens[start:]))
        owners.append(np.full(len(tokens) - start, member))
    flat = np.concatenate(rows)
    return Pack(
        ids=ids,
        rows=flat,
        row=np.arange(len(flat)),
        target=np.concatenate(targets).astype(np.int64),
        request=np.concatenate(owners),
        n_tokens=sum(len(requests[member].ids) for member in members),
    )


def plan_batches(requests: Sequence[Request], batch_tokens: int) -> list[Pack]:
    """Packs of similar lengths, longest first, each of at most ``batch_tokens`` tokens with padding (or one sequence).

    A function of the requests and the budget alone, so a run that is started again makes the same packs.
    """
    order = sorted(range(len(requests)), key=lambda index: (-len(requests[index].ids), index))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * len(requests[groups[-1][0]].ids) <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [pack_sequences(requests, group) for group in groups]
