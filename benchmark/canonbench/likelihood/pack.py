"""A pack: what goes through the model at once, and which of its positions are scored for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from canonbench.likelihood.tokens import Request
from canonbench.likelihood.trie import Piece, Tokens, shared_length

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
