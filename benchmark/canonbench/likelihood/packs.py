"""Packed batches: the token ids of one forward pass, which positions are scored, and for which request.

``plan_packs`` turns requests into packs. The same requests and architecture always give the same packs.
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

    Tries are laid out in preorder; a row can hold several. If none branches and each has its own row, no mask is
    needed: in a causal model no scored position sees padding on the right.
    """

    ids: Ints
    """(B, T) token ids."""
    depths: Ints | None
    """(B, T) depth of each node in its trie, which is its position id; None if nothing branches."""
    ends: Ints | None
    """(B, T) index in the row at which a node's subtree ends: i sees j iff j <= i < ends[j]; None if nothing
    branches."""
    rows: Ints
    """(R,) flat positions in B·T whose hidden states go through the output layer; unique, ascending."""
    row: Ints
    """(S,) per scored token: index into ``rows`` of the position that predicts it."""
    target: Ints
    """(S,) per scored token: its id."""
    request: Ints
    """(S,) per scored token: the request it belongs to; the tokens of a request are contiguous and in order."""
    lengths: Ints
    """(B,) number of tokens in each row without padding."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens without padding."""
        return int(self.lengths.sum())

    @property
    def requests(self) -> list[int]:
        """The requests that this pack answers."""
        return sorted(set(self.request.tolist()))

    @property
    def places(self) -> Ints:
        """(S,) per scored token: its index among the scored tokens of its request."""
        starts = np.flatnonzero(np.diff(self.request, prepend=-1))
        return np.arange(len(self.request)) - np.repeat(starts, np.diff(starts, append=len(self.request)))

    def only(self, asked: npt.NDArray[np.bool_]) -> Pack | None:
        """Return the same batch with only the scored tokens where ``asked`` (S,) is true; None if none is."""
        if not asked.any():
            return None
        used, row = np.unique(self.row[asked], return_inverse=True)
        return replace(self, rows=self.rows[used], row=row, target=self.target[asked], request=self.request[asked])

    def answers(self, values: npt.NDArray[np.float64]) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Yield, for each request of this pack, its index and its share of the (S,) ``values``."""
        bounds = np.flatnonzero(np.diff(self.request)) + 1
        yield from zip(self.request[[0, *bounds]].tolist(), np.split(values, bounds), strict=True)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return the attention mask (B, T, T): true where position i sees j, its ancestor or itself.

        Only for packs in which something branches.
        """
        assert self.ends is not None
        place = np.arange(self.ids.shape[1])
        visible: npt.NDArray[np.bool_] = (place[:, None] >= place) & (place[:, None] < self.ends[:, None, :])
        return visible

    def halves(self) -> tuple[Pack, Pack]:
        """Split the pack into two packs of half the rows each."""
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
    """Build the arrays of one pack.

    Args:
        requests: all requests of the plan.
        order: index in ``requests`` of each sorted sequence.
        sequences: the input tokens of each request, sorted.
        rows: the pieces in each row.
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
"""Minimum tokens of a tree row, so that attention does not run on many tiny matrices."""


Kind = Literal["tree", "chains", "plain"]
"""``tree``: tries under a 4-D mask. ``chains``: a sequence that is a prefix of another shares its row, padded on the
right. ``plain``: batches of whole sequences of equal length."""


class Layout(NamedTuple):
    """How sequences may be laid out in a batch for an architecture."""

    kind: Kind
    limit: int
    """Most tokens of a tree row: the attention window, or less if longer rows are untested. A single longer sequence
    still gets a row."""
    attention: float
    """Cost of one query-key pair, relative to all other cost of one token."""


def plan_packs(requests: Sequence[Request], batch_tokens: int, layout: Layout) -> list[Pack]:
    """Plan packs that answer all requests, longest rows first, each of at most ``batch_tokens`` or of one row.

    The last token of a request predicts no scored token, so it is an input only if sequences must be whole.
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
    """Yield batches of pieces of similar length (``even``: equal length), longest first, one piece per row."""
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
    """Yield batches of rows, each filled greedily with the largest piece that still fits."""
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
