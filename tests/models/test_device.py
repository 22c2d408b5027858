from __future__ import annotations

import pytest
import torch

from canonbench.errors import UsageError
from canonbench.models.device import SMALL_MODEL, choose_device, choose_dtype


@pytest.mark.parametrize("checkpoint", [torch.bfloat16, torch.float16, torch.float32])
def test_small_models_are_evaluated_in_float32_and_large_ones_as_saved(checkpoint: torch.dtype) -> None:
    assert choose_dtype("auto", checkpoint=checkpoint, n_parameters=SMALL_MODEL - 1) is torch.float32
    assert choose_dtype("auto", checkpoint=checkpoint, n_parameters=SMALL_MODEL) is checkpoint


@pytest.mark.parametrize("n_parameters", [1, 10**10])
def test_a_named_dtype_is_taken_as_it_is(n_parameters: int) -> None:
    assert choose_dtype("float16", checkpoint=torch.float32, n_parameters=n_parameters) is torch.float16


def test_a_misspelled_dtype_is_pointed_out() -> None:
    with pytest.raises(UsageError, match=r"unknown dtype 'bfloat'.*Did you mean 'bfloat16'"):
        choose_dtype("bfloat", checkpoint=torch.float32, n_parameters=1)


def test_auto_is_a_device_that_is_there() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used here") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)
