"""From requests to packs: the same packs whenever the same is asked of the same architecture."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from canonbench.likelihood.pack import Pack, build
from canonbench.likelihood.tokens import Request
from canonbench.likelihood.trie import Piece, chains, cut

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
