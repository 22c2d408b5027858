"""A GPU that runs out of memory: the batch is halved, the answers stay, and the next batch starts smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from likelihood_cases import TOLERANCE, exact, questions

from canonbench.errors import CanonbenchError
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import route
from tiny_models import tiny_model


def with_memory_for(tokens: int, family: str = "llama") -> tuple[Any, list[int]]:
    """A model whose forward raises what CUDA raises beyond so many tokens; and the sizes it was asked for."""
    model, asked = tiny_model(family), []
    route(model)

    def guard(_model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        asked.append(kwargs["input_ids"].numel())
        if asked[-1] > tokens:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(guard, with_kwargs=True)
    return model, asked


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(family: str) -> None:
    model, asked = with_memory_for(100, family)
    requests = questions()
    packs = plan(model, requests, batch_tokens=512)
    assert packs[0].ids.size > 200
    found = {index: values for pack in packs for index, values in score(model, pack)}
    model._forward_pre_hooks.clear()
    for index, truth in enumerate(exact(model, requests)):
        np.testing.assert_allclose(found[index], truth, rtol=0, atol=TOLERANCE)
    assert sum(size > 100 for size in asked) <= 3  # what did not fit once is not tried again


def test_a_single_row_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    model, _ = with_memory_for(5)
    with pytest.raises(CanonbenchError, match=r"no memory for one row of \d+ tokens; try a smaller --batch-tokens"):
        dict(score(model, plan(model, questions(), batch_tokens=64)[0]))
