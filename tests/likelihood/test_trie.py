"""Cutting tries and packing them: every sequence once, only paths repeated, ancestors seen and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonbench.likelihood.packs import Kind, Layout, plan_packs
from canonbench.likelihood.tokens import Request
from canonbench.likelihood.trie import Piece, chains, cut

sequences_with_shared_prefixes = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=20
).map(sorted)


def nodes(sequences: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}


@given(
    sequences=sequences_with_shared_prefixes,
    limit=st.integers(1, 40),
    attention=st.sampled_from([1e-4, 1e-2, 1.0]),
)
def test_every_sequence_stands_in_one_piece_whose_size_is_its_nodes(
    sequences: list[tuple[int, ...]], limit: int, attention: float
) -> None:
    pieces = cut(sequences, limit=limit, attention=attention)
    assert sorted(member for piece in pieces for member in piece.members) == list(range(len(sequences)))
    for piece in pieces:
        inside = [sequences[member] for member in piece.members]
        assert piece.size == len(nodes(inside))
        assert list(piece.members) == sorted(piece.members)
        assert piece.size <= limit or piece.size == max(map(len, inside))


def test_cheap_attention_keeps_a_trie_whole_and_a_limit_cuts_it_with_its_path() -> None:
    sequences = [(7, 7, 7, 7, first, second) for first in (1, 2) for second in (1, 2, 3)]
    assert cut(sequences, limit=100, attention=1e-6) == [Piece(12, (0, 1, 2, 3, 4, 5))]  # 4 + 2 · (1 + 3)
    assert cut(sequences, limit=8, attention=1e-6) == [Piece(8, (0, 1, 2)), Piece(8, (3, 4, 5))]


def test_branches_that_fill_no_piece_evenly_stay_below_the_limit() -> None:
    sequences = [(9, first, 0, 0) for first in range(3)]  # 1 shared, 3 each: two together are 7
    assert [piece.size for piece in cut(sequences, limit=6, attention=1e-6)] == [4, 4, 4]


def test_dear_attention_cuts_a_trie_where_the_shared_path_is_short() -> None:
    sequences = [(5, first, *range(10)) for first in range(4)]  # 1 shared, 11 each
    assert [piece.size for piece in cut(sequences, limit=100, attention=1.0)] == [12, 12, 12, 12]


def test_a_chain_carries_its_prefixes_and_whole_sequences_only_their_equals() -> None:
    sequences = [(1,), (1, 2), (1, 2), (1, 2, 3), (1, 3), (2,)]
    assert chains(sequences, whole=False) == [Piece(3, (0, 1, 2, 3)), Piece(2, (4,)), Piece(1, (5,))]
    assert chains(sequences, whole=True) == [
        Piece(1, (0,)), Piece(2, (1, 2)), Piece(3, (3,)), Piece(2, (4,)), Piece(1, (5,)),
    ]  # fmt: skip


def test_he_and_she_after_one_prefix_are_one_row_with_two_targets() -> None:
    he, she, prefix = 3, 4, (9, 8, 7)
    (pack,) = plan_packs([Request((*prefix, he), 3), Request((*prefix, she), 3)], 64, Layout("tree", 64, 1e-3))
    assert pack.ids.tolist() == [[9, 8, 7]]
    assert pack.rows.tolist() == [2]
    assert pack.row.tolist() == [0, 0]
    assert pack.target.tolist() == [he, she]


def test_a_packed_trie_by_hand() -> None:
    # Fed: 1 2 3 | 1 2 4 | 5.   Trie: 1-2-{3,4} and 5, in preorder 1 2 3 4 5.
    requests = [Request((1, 2, 3, 0), 1), Request((1, 2, 4, 0), 3), Request((5, 0), 1)]
    (pack,) = plan_packs(requests, 64, Layout("tree", 64, 1e-3))
    assert pack.depths is not None
    assert pack.ends is not None
    assert pack.ids.tolist() == [[1, 2, 3, 4, 5]]
    assert pack.depths.tolist() == [[0, 1, 2, 2, 0]]
    assert pack.ends.tolist() == [[4, 4, 3, 4, 5]]
    assert pack.mask()[0].astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert pack.rows.tolist() == [0, 1, 2, 3, 4]
    assert list(zip(pack.request.tolist(), pack.row.tolist(), pack.target.tolist(), strict=True)) == [
        (0, 0, 2), (0, 1, 3), (0, 2, 0), (1, 3, 0), (2, 4, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["tree", "chains", "plain"])
@given(sequences=sequences_with_shared_prefixes, budget=st.integers(1, 80), seed=st.integers(0, 3))
@settings(max_examples=60)
def test_what_predicts_a_scored_token_is_the_request_up_to_there(
    kind: Kind, sequences: list[tuple[int, ...]], budget: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    requests = [Request((*ids, 1), int(draw.integers(1, len(ids) + 1))) for ids in sequences]
    seen: list[tuple[int, int]] = []
    packs = plan_packs(requests, budget, Layout(kind, 64, 1e-2))
    for pack in packs:
        rows, width = pack.ids.shape
        assert rows == 1 or rows * width <= budget
        assert len(set(pack.rows.tolist())) == len(pack.rows)
        visible = (
            pack.mask() if pack.ends is not None else np.tile(np.tril(np.ones((width, width), bool)), (rows, 1, 1))
        )
        place = dict.fromkeys(pack.requests, 0)
        for request, row, target in zip(pack.request.tolist(), pack.row, pack.target.tolist(), strict=True):
            ids, start = requests[request]
            number, position = divmod(int(pack.rows[row]), width)
            context = pack.ids[number, visible[number, position]]
            assert tuple(context.tolist()) == ids[: start + place[request]]
            if pack.depths is None:
                assert position == len(context) - 1
            else:
                assert pack.depths[number, position] == len(context) - 1
            assert target == ids[start + place[request]]
            seen.append((request, start + place[request]))
            place[request] += 1
    assert sorted(seen) == [(i, p) for i, r in enumerate(requests) for p in range(r.start, len(r.ids))]


def test_rows_without_branches_need_no_mask() -> None:
    requests = [Request((first, 2, 3, 4, 5, 6), 1) for first in range(4)]
    (pack,) = plan_packs(requests, 20, Layout("tree", 5, 1e-3))
    assert pack.ids.shape == (4, 5)
    assert pack.depths is pack.ends is None


@given(sequences=sequences_with_shared_prefixes, kind=st.sampled_from(["tree", "chains", "plain"]))
def test_halves_of_a_pack_ask_the_same(sequences: list[tuple[int, ...]], kind: Kind) -> None:
    requests = [Request((*ids, 1), 1) for ids in sequences]
    for pack in plan_packs(requests, 40, Layout(kind, 10, 1e-2)):
        if len(pack.ids) == 1:
            continue
        first, second = pack.halves()
        assert len(first.ids) + len(second.ids) == len(pack.ids)
        assert first.n_tokens + second.n_tokens == pack.n_tokens
        moved = len(first.ids) * pack.ids.shape[1]
        asked = [
            (request, position + shift, target)
            for part, shift in ((first, 0), (second, moved))
            for request, position, target in zip(part.request, part.rows[part.row], part.target, strict=True)
        ]
        assert sorted(asked) == sorted(zip(pack.request, pack.rows[pack.row], pack.target, strict=True))
