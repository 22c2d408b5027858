"""A pack: what goes through the model at once, and which of its positions are scored for whom.

From requests to packs: the same packs whenever the same is asked of the same architecture.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from canonbench.likelihood.tokens import Request
from canonbench.likelihood.trie import Piece, Tokens, chains, cut, shared_length

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pack:
    """A dense (B, T) batch of token ids and the scored tokens in it.

    Tries are laid out in preorder, several in a row if need be. Where none branches and each has a row of its own, no
    mask is needed: padding on the right is seen by no scored position of a causal model.
    """

    ids: Ints
    """(B, T) token ids."""
    depths: Ints | None
    """(B, T) depth of each node in its trie, which is its position in its sequence; None if nothing branches."""
    ends: Ints | None
    """(B, T) where in its row a node's subtree ends: i sees j iff j <= i < ends[j]; None if nothing branches."""
    rows: Ints
    """(R,) flat positions in B·T whose hidden states go through the output layer, each once, ascending."""
    row: Ints
    """(S,) per scored token: which of ``rows`` predicts it."""
    target: Ints
    """(S,) per scored token: its id."""
    request: Ints
    """(S,) per scored token: the request it belongs to; a request's tokens stand together and in order."""
    lengths: Ints
    """(B,) tokens of each row that are not padding."""

    @property
    def n_tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.lengths.sum())

    @property
    def requests(self) -> list[int]:
        """The requests that this pack answers."""
        return sorted(set(self.request.tolist()))

    @property
    def places(self) -> Ints:
        """(S,) per scored token: its place among those of its request."""
        starts = np.flatnonzero(np.diff(self.request, prepend=-1))
        return np.arange(len(self.request)) - np.repeat(starts, np.diff(starts, append=len(self.request)))

    def only(self, asked: npt.NDArray[np.bool_]) -> Pack | None:
        """The same batch, of whose scored tokens only the (S,) ``asked`` are; None if none is."""
        if not asked.any():
            return None
        used, row = np.unique(self.row[asked], return_inverse=True)
        return replace(self, rows=self.rows[used], row=row, target=self.target[asked], request=self.request[asked])

    def answers(self, values: npt.NDArray[np.float64]) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Per request of this pack: its share of the (S,) ``values``."""
        bounds = np.flatnonzero(np.diff(self.request)) + 1
        yield from zip(self.request[[0, *bounds]].tolist(), np.split(values, bounds), strict=True)

    def mask(self) -> npt.NDArray[np.bool_]:
        """(B, T, T): whether position i sees position j, its ancestor or itself. Only where something branches."""
        assert self.ends is not None
        place = np.arange(self.ids.shape[1])
        visible: npt.NDArray[np.bool_] = (place[:, None] >= place) & (place[:, None] < self.ends[:, None, :])
        return visible

    def halves(self) -> tuple[Pack, Pack]:
        """The same questions in two packs of half the rows each."""
        middle = len(self.ids) // 2
        return self._part(slice(0, middle)), self._part(slice(middle, len(self.ids)))

    def _part(self, part: slice) -> Pack:
        width = self.ids.shape[1]
        inside = slice(*np.searchsorted(self.rows, (part.start * width, part.stop * width)))
        scored = (self.row >= inside.start) & (self.row < inside.stop)
        return Pack(
            ids=self.ids[part],
            depths=None if self.depths is None else self.depths[part],
            ends=None if self.ends is None else self.ends[part],
            rows=self.rows[inside] - part.start * width,
            row=self.row[scored] - inside.start,
            target=self.target[scored],
            request=self.request[scored],
            lengths=self.lengths[part],
        )


def build(
    requests: Sequence[Request],
    order: Sequence[int],
    sequences: Sequence[Tokens],
    rows: list[list[Piece]],
) -> Pack:
    """The arrays of one pack.

    Args:
        requests: all of the plan's.
        order: places of the sorted sequences in ``requests``.
        sequences: what is fed of each, sorted.
        rows: the pieces that share each row.
    """
    lengths = np.array([sum(piece.size for piece in pieces) for pieces in rows])
    width = int(lengths.max())
    ids, depths = np.zeros((2, len(rows), width), dtype=np.int64)
    ends = np.tile(np.arange(1, width + 1), (len(rows), 1))
    flat, targets, owners = [], [], []
    for number, pieces in enumerate(rows):
        stop = 0
        for piece in pieces:
            path: Ints = np.empty(0, dtype=np.int64)
            previous: Tokens = ()
            for member in piece.members:
                sequence = sequences[member]
                depth = shared_length(previous, sequence)
                new = np.arange(stop, stop + len(sequence) - depth)
                stop += len(new)
                ids[number, new] = sequence[depth:]
                depths[number, new] = np.arange(depth, len(sequence))
                path = np.concatenate([path[:depth], new])
                ends[number, path] = stop
                previous = sequence
                tokens, start = requests[order[member]]
                flat.append(number * width + path[start - 1 : len(tokens) - 1])
                targets.append(tokens[start:])
                owners.append(np.full(len(tokens) - start, order[member]))
    places = np.arange(width)
    straight = bool(((depths == places) | (places >= lengths[:, None])).all())
    unique, row = np.unique(np.concatenate(flat), return_inverse=True)
    return Pack(
        ids=ids,
        depths=None if straight else depths,
        ends=None if straight else ends,
        rows=unique,
        row=row,
        target=np.concatenate(targets).astype(np.int64),
        request=np.concatenate(owners),
        lengths=lengths,
    )


ROW = 64
"""Tokens of a tree row at least, so that attention is not spread over many tiny matrices."""


Kind = Literal["tree", "chains", "plain"]
"""``tree``: tries under a 4-D mask. ``chains``: prefixes ride on longer sequences, padded on the right. ``plain``:
batches of sequences of one length, fed whole."""


class Layout(NamedTuple):
    """How sequences may stand in a batch for this architecture."""

    kind: Kind
    limit: int
    """Tokens that a tree row may have (the attention window), if the longest sequence allows."""
    attention: float
    """Cost of one query-key pair, relative to all else that one token costs."""


def plan_packs(requests: Sequence[Request], batch_tokens: int, layout: Layout) -> list[Pack]:
    """Packs that answer all requests, most expensive rows first, each of ``batch_tokens`` or of one row.

    The last token of a request predicts nothing that is asked, so it is fed only where sequences are fed whole.
    """
    whole = layout.kind == "plain"
    fed = [request.ids if whole else request.ids[:-1] for request in requests]
    order = sorted(range(len(requests)), key=lambda index: (fed[index], index))
    sequences = [fed[index] for index in order]
    if layout.kind == "tree":
        limit = min(layout.limit, batch_tokens)
        pieces = cut(sequences, limit=limit, attention=layout.attention)
        batches = _filled_rows(pieces, batch_tokens, limit)
    else:
        batches = _rows_of_one(chains(sequences, whole=whole), batch_tokens, even=whole)
    return [build(requests, order, sequences, rows) for rows in batches]


def _rows_of_one(pieces: list[Piece], batch_tokens: int, *, even: bool) -> Iterator[list[list[Piece]]]:
    """Batches of similar lengths (``even``: of the same length), longest first, one piece per row."""
    batch: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.members)):
        longest = batch[0][0].size if batch else 0
        if batch and ((len(batch) + 1) * longest > batch_tokens or (even and piece.size < longest)):
            yield batch
            batch = []
        batch.append([piece])
    if batch:
        yield batch


def _filled_rows(pieces: list[Piece], batch_tokens: int, limit: int) -> Iterator[list[list[Piece]]]:
    """Batches of rows that are filled with the largest piece that fits, again and again."""
    rest: list[Piece] = []  # ascending
    for piece in pieces:
        insort(rest, piece)
    while rest:
        least = max(rest[-1].size, min(ROW, limit))
        count = max(1, batch_tokens // least)
        width = max(least, min(limit, batch_tokens // count))
        yield [row for row in (_fill(rest, width) for _ in range(count)) if row]


def _fill(rest: list[Piece], width: int) -> list[Piece]:
    row: list[Piece] = []
    while place := bisect_right(rest, width, key=lambda piece: piece.size):
        piece = rest.pop(place - 1)
        width -= piece.size
        row.append(piece)
    return row
