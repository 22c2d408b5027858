"""Batches: order, padding, chunks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from canonbench.editing.training.batches import Chunks, grouped, padded, shuffled_batches
from tiny_models import tiny_model, tiny_tokenizer


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 5))
def test_an_epoch_takes_every_item_once_in_batches_of_one_size_but_the_last(count: int, size: int, seed: int) -> None:
    batches = list(shuffled_batches(range(count), size, np.random.default_rng(seed)))
    assert sorted(item for batch in batches for item in batch) == list(range(count))
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert all(len(batch) == (count % size or size) for batch in batches[-1:])


def test_every_order_is_as_likely_as_any_other() -> None:
    draw = np.random.default_rng(0)
    orders = [tuple(item for batch in shuffled_batches("abc", 2, draw) for item in batch) for _ in range(6000)]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert len(counts) == 6
    assert (np.abs(counts - 1000) < 5 * 1000**0.5).all()


@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=3)), st.integers(1, 60))
def test_groups_keep_order_and_bound(items: list[list[int]], most: int) -> None:
    groups = list(grouped(items, lambda item: item, most))
    assert [item for group in groups for item in group] == items
    for group in groups:
        lengths = [length for item in group for length in item]
        assert len(group) == 1 or max(lengths) * len(lengths) <= most


def test_sequences_are_padded_on_the_right_and_the_wanted_places_found_again() -> None:
    ids, mask, rows = padded([([5, 6, 7], range(1, 3)), ([8], range(1))], torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.flatten()[rows].tolist() == [6, 7, 8]


def test_each_chunk_is_drawn_as_often_as_any_other_and_distinct_ones_once() -> None:
    texts = ["one fish", "two fish", "red fish"]
    tokenizer = tiny_tokenizer("bos")
    chunks = Chunks(tiny_model("gpt2"), tokenizer, texts, np.random.default_rng(0))
    drawn = [tokenizer.decode(ids[1:]) for ids, _ in chunks.draw(3000)]
    counts = np.array([drawn.count(text) for text in texts])
    assert counts.sum() == 3000
    assert (np.abs(counts - 1000) < 5 * 1000**0.5).all()
    assert sorted(tokenizer.decode(ids[1:]) for ids, _ in chunks.draw_distinct(10)) == sorted(texts)
    assert len(chunks.draw_distinct(2)) == 2
