"""Which device and dtype a model is evaluated in (PROTOCOL section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canonbench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
SMALL_MODEL = 500_000_000
"""Below this many parameters bfloat16 is too coarse: the unedited Pythia-70m's general loss is 5.33 instead of 3.65."""


def choose_device(name: str) -> torch.device:
    """``auto`` is the first GPU if there is one; UsageError for a device that this machine lacks."""
    import torch  # noqa: PLC0415

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used here ({reason}); try --device cpu") from error
    return device


def choose_dtype(name: str, *, checkpoint: torch.dtype, n_parameters: int, device: torch.device) -> torch.dtype:
    """``auto``: float32 on CPU and for small models, the checkpoint's own otherwise."""
    import torch  # noqa: PLC0415

    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    if name != "auto":
        chosen = getattr(torch, name)
        assert isinstance(chosen, torch.dtype)
        return chosen
    if device.type == "cpu" or n_parameters < SMALL_MODEL:
        return torch.float32
    return checkpoint
