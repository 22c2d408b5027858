"""What measuring a unit gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Measured:
    """A unit's log-likelihoods."""

    sums: npt.NDArray[np.float64]
    """(requests,) nats."""
    seconds: float
    tokens: Mapping[int, npt.NDArray[np.float64]] | None = None
    """Per request, those of its scored tokens; of bases whose edits may leave some as they are."""
