"""The candidates of an edit run and how each was judged, written as JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from canonbench.errors import CanonbenchError
from canonbench.records import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Candidate:
    """One candidate and its measurements; a measurement that was not needed (it is in no league) is None."""

    task: str
    seed: int
    number: int
    """Number from 1, in the order in which the method yielded the candidates; 0 is the unedited model."""
    fingerprint: str
    """Fingerprint of weights and configuration."""
    training_loss: float | None
    """The last training loss that the method reported."""
    ratio: float
    """Loss ratio on G; if ``rejected``, a lower bound of it."""
    rejected: bool
    """Whether it was found to be outside every league before all of G was scored."""
    leagues: Mapping[str, bool]
    """League label to whether the ratio is in that league."""
    success: float | None
    """Percent."""
    hard_negatives: float | None
    """Mean NLL of the hard negatives, nats."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent on it, by activity: training (since the previous candidate), general, task."""
    chosen: Sequence[str] = ()
    """Leagues that chose this candidate."""


def write_candidates(candidates: Sequence[Candidate], path: Path) -> None:
    """Write the candidates to ``path``, one JSON object per line."""
    write_jsonl(path, map(asdict, candidates))


def read_candidates(path: Path) -> list[Candidate]:
    """Read the candidates that ``write_candidates`` wrote.

    Raises:
        CanonbenchError: the file cannot be read, or has another format.
    """
    try:
        return [Candidate(**each) for each in read_jsonl(path)]
    except TypeError as error:
        raise CanonbenchError(f"{path} is damaged: it does not list an edit run's candidates") from error
