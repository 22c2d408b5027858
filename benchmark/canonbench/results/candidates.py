"""What became of every candidate of an edit run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from canonbench.errors import CanonbenchError
from canonbench.records import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Candidate:
    """One candidate: what was measured of it. What was not needed (it is in no league) is None."""

    task: str
    seed: int
    number: int
    """Counted from 1, in the order in which the method yielded them; 0 is the unedited model."""
    fingerprint: str
    """Of weights and configuration."""
    training_loss: float | None
    """The last that the method reported."""
    ratio: float
    """Loss ratio on G; where ``rejected``, what it exceeds."""
    rejected: bool
    """Found outside every league before all of G was scored."""
    leagues: Mapping[str, bool]
    """Label to whether its ratio is in that league."""
    success: float | None
    """Percent."""
    hard_negatives: float | None
    """Mean NLL of the hard negatives, nats."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Spent on it, by what: training (since the candidate before), general, task."""
    chosen: Sequence[str] = ()
    """Leagues whose choice it is."""


def write_candidates(candidates: Sequence[Candidate], path: Path) -> None:
    """One JSON object per line."""
    write_jsonl(path, map(asdict, candidates))


def read_candidates(path: Path) -> list[Candidate]:
    """What ``write_candidates`` wrote.

    Raises:
        CanonbenchError: the file cannot be read, or holds something else.
    """
    try:
        return [Candidate(**each) for each in read_jsonl(path)]
    except TypeError as error:
        raise CanonbenchError(f"{path} is damaged: it does not list an edit run's candidates") from error
