"""Cut the trie of many sequences into pieces that are cheap to run: what sequences share is fed once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

Tokens = tuple[int, ...]


class Piece(NamedTuple):
    """A part of the trie, from the root down; it answers for some of the sequences."""

    size: int
    """Nodes, those on the way to the root included: the tokens that this piece costs."""
    members: tuple[int, ...]
    """Places in the sorted sequences, ascending, so that neighbours share the longest prefixes."""


def shared_length(left: Tokens, right: Tokens) -> int:
    """Length of the longest common prefix."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def cut(sequences: Sequence[Tokens], *, limit: int, attention: float) -> list[Piece]:
    """Pieces that hold every sequence once and repeat only paths to the root.

    Sequences that share d tokens save them by standing in one piece, but a piece of n nodes attends to itself at a cost
    that grows as n². Its cost is taken to be n + attention·n², and at every branch the sequences below are merged into
    as many pieces as make the sum least.

    Args:
        sequences: sorted; duplicates and prefixes of each other are welcome.
        limit: nodes that a piece may have, unless a single sequence has more.
        attention: cost of one query-key pair, relative to all else that one token costs.
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
    """Join pieces that share their first ``depth`` nodes into groups of even size, each with those nodes once.

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
    """Pieces without branches: a sequence rides on one that it is a prefix of (``whole``: on its equals only)."""
    pieces: list[Piece] = []
    riders: list[int] = []
    for place, sequence in enumerate(sequences):
        riders.append(place)
        following = sequences[place + 1] if place + 1 < len(sequences) else ()
        if following[: len(sequence)] != sequence or (whole and following != sequence):
            pieces.append(Piece(len(sequence), tuple(riders)))
            riders = []
    return pieces
