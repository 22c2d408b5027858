"""Choose the device and dtype that a model is evaluated in (docs/reference/protocol.md#1-log-likelihood)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from canonbench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import torch


DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
SMALL_MODEL = 500_000_000
"""Below this many parameters bfloat16 is too coarse: the unedited Pythia-70m's general loss is 5.33 instead of 3.65."""


def choose_device(name: str) -> torch.device:
    """The torch device; ``auto`` is the first GPU if there is one. UsageError if the device cannot be used here."""

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(f"device {name!r} cannot be used here ({reason}); try --device cpu") from error
    return device


def named_dtype(name: str) -> torch.dtype | None:
    """The torch dtype of a name, None for ``auto``. UsageError if the name is not in DTYPES."""

    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    dtype: torch.dtype | None = getattr(torch, name, None)
    return dtype


def choose_dtype(name: str, *, checkpoint: torch.dtype, n_parameters: int) -> torch.dtype:
    """The dtype to load in; ``auto`` is float32 under SMALL_MODEL parameters, else the checkpoint's own dtype.

    The choice does not depend on the device, because rows of different dtypes are never ranked together
    (docs/reference/protocol.md#6-rows).
    """

    return named_dtype(name) or (torch.float32 if n_parameters < SMALL_MODEL else checkpoint)
