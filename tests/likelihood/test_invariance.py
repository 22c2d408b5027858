"""Whatever the order, the budget, the duplicates or the company a request is in: the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from likelihood_cases import model_of

from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import reference_log_probs
from canonbench.likelihood.tokens import Request

SAME = 1e-5
"""Nats per token: float32 sums taken in another order."""

# A small alphabet makes shared prefixes, prefixes of each other and duplicates the rule.
ids = st.lists(st.integers(0, 3), min_size=2, max_size=12).map(tuple)
requests_of_any_shape = st.lists(
    ids.flatmap(lambda tokens: st.builds(Request, st.just(tokens), st.integers(1, len(tokens) - 1))),
    min_size=1,
    max_size=12,
)


def answers(model: Any, requests: list[Request], batch_tokens: int) -> list[Any]:
    found: dict[int, Any] = {}
    for pack in plan(model, requests, batch_tokens=batch_tokens):
        scored = dict(score(model, pack))
        assert sorted(scored) == sorted(pack.requests)
        assert not found.keys() & scored.keys()
        found |= scored
    return [found[index] for index in range(len(requests))]


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "bloom", "mamba"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_answers_do_not_depend_on_order_budget_shards_or_company(family: str, data: st.DataObject) -> None:
    model = model_of(family)
    requests = data.draw(requests_of_any_shape)
    order = data.draw(st.permutations(range(len(requests))))
    budget = data.draw(st.integers(1, 64))
    truth = reference_log_probs(model, requests)
    boundary = data.draw(st.integers(0, len(order)))
    for shard in (order[:boundary], order[boundary:]):
        found = answers(model, [requests[place] for place in shard], budget)
        for place, own in zip(shard, found, strict=True):
            np.testing.assert_allclose(own, truth[place], rtol=0, atol=SAME)


@given(requests=requests_of_any_shape, budget=st.integers(1, 64))
@settings(max_examples=25, deadline=None)
def test_the_same_question_makes_the_same_packs(requests: list[Request], budget: int) -> None:
    first, second = (plan(model_of("llama"), list(requests), batch_tokens=budget) for _ in range(2))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.requests == other.requests
        np.testing.assert_array_equal(one.ids, other.ids)
    assert sorted(index for pack in first for index in pack.requests) == list(range(len(requests)))
