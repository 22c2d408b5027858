"""Cut the trie of many sequences into pieces that are cheap to run, so that shared prefixes are computed once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

Tokens = tuple[int, ...]


class Piece(NamedTuple):
    """A part of the trie, from the root down, that holds some of the sequences."""

    size: int
    """Number of nodes, including the path to the root: the tokens to run for this piece."""
    members: tuple[int, ...]
    """Indices of the sorted sequences, ascending, so that neighbours share the longest prefixes."""


def shared_length(left: Tokens, right: Tokens) -> int:
    """Return the length of the longest common prefix."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def cut(sequences: Sequence[Tokens], *, limit: int, attention: float) -> list[Piece]:
    """Cut the trie into pieces that hold every sequence once and repeat only paths to the root.

    Sequences that share d tokens save them by sharing a piece, but the attention cost of a piece of n nodes grows as
    n². Its cost is modelled as n + attention·n², and at every branch the sequences below are merged into the number of
    pieces with the lowest total cost.

    Args:
        sequences: sorted; duplicates and prefixes of each other are allowed.
        limit: most nodes of a piece, unless a single sequence has more.
        attention: cost of one query-key pair, relative to all other cost of one token.
    """
    pieces: list[Piece] = []
    branches: list[tuple[int, list[Piece]]] = []  # (depth, pieces below), along the path to the current sequence
    for place, sequence in enumerate(sequences):
        next_depth = shared_length(sequence, sequences[place + 1]) if place + 1 < len(sequences) else 0
        closed = [Piece(len(sequence), (place,))]
        while branches and branches[-1][0] > next_depth:
            depth, below = branches.pop()
            closed = _merge(depth, below + closed, limit, attention)
        if next_depth == 0:
            pieces += closed
        elif branches and branches[-1][0] == next_depth:
            branches[-1][1].extend(closed)
        else:
            branches.append((next_depth, closed))
    return pieces


def _merge(depth: int, pieces: list[Piece], limit: int, attention: float) -> list[Piece]:
    """Merge pieces that share their first ``depth`` nodes into groups of even size, each with those nodes once.

    k groups of x further nodes each cost k·(depth + x + attention·(depth + x)²) for k·x nodes: least at
    x = √(depth / attention + depth²).
    """
    total = sum(piece.size - depth for piece in pieces)
    best = math.sqrt(depth / attention + depth**2)
    count = max(1, round(total / best), math.ceil(total / max(1, limit - depth)))
    groups: list[tuple[int, int, list[Piece]]] = [(0, number, []) for number in range(min(count, len(pieces)))]
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.members)):
        smallest, number, group = groups[0]
        if group and smallest + piece.size > limit:
            heapq.heappush(groups, (piece.size - depth, len(groups), [piece]))
        else:
            heapq.heapreplace(groups, (smallest + piece.size - depth, number, [*group, piece]))
    return [
        Piece(depth + size, tuple(sorted(member for piece in group for member in piece.members)))
        for size, _, group in sorted(groups, key=lambda entry: entry[1])
        if group
    ]


def chains(sequences: Sequence[Tokens], *, whole: bool) -> list[Piece]:
    """Make pieces without branches: a sequence joins one that it is a prefix of (``whole``: only its equals)."""
    pieces: list[Piece] = []
    riders: list[int] = []
    for place, sequence in enumerate(sequences):
        riders.append(place)
        following = sequences[place + 1] if place + 1 < len(sequences) else ()
        if following[: len(sequence)] != sequence or (whole and following != sequence):
            pieces.append(Piece(len(sequence), tuple(riders)))
            riders = []
    return pieces
