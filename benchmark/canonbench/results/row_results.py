"""The measured parts of a row: numbers with and without a base, per task, on general text, and on average."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from canonbench.scoring import Membership
from canonbench.suite import TASKS


def _six_decimals(value: float) -> float:
    return round(value, 6) + 0.0  # + 0.0 turns -0.0 into 0.0


def _nine_decimals(value: float) -> float:
    return round(value, 9) + 0.0


def _twelve_decimals(value: float) -> float:
    return round(value, 12) + 0.0


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval is [low, high], got {list(interval)}")
    return interval


def _names_an_epsilon(label: str) -> str:
    try:
        epsilon = float(label)
    except ValueError:
        epsilon = math.nan
    if not 0 < epsilon < math.inf:
        raise ValueError(f"a league is named by its ε, such as 1e-3, got {label!r}")
    return label


Number = Annotated[float, Field(strict=True), AfterValidator(_six_decimals)]
"""Percent, percentage points, nats or seconds: six decimals."""
Ratio = Annotated[float, Field(strict=True), AfterValidator(_nine_decimals)]
"""A loss ratio: nine decimals, because six would blur the 1e-5 league."""
NoiseFloor = Annotated[float, Field(strict=True, ge=0), AfterValidator(_twelve_decimals)]
"""Twelve decimals: on a CPU in float32 it is of the order of 1e-10, and a rounded zero would claim exactness."""
Interval95 = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
"""[low, high] of a 95 % interval."""
RatioInterval95 = Annotated[tuple[Ratio, Ratio], AfterValidator(_ordered)]
LeagueName = Annotated[str, AfterValidator(_names_an_epsilon)]
"""A league's label: its ε as text, e.g. 1e-3."""
Count = Annotated[int, Field(strict=True, ge=1)]
"""How many; a part with nothing in it is null as a whole."""


class Part(BaseModel):
    """A part of a row: immutable, no unknown key, no NaN or infinity, every key present."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Change(Part):
    """A number before and after the edit: success in percent (delta in points), log-likelihoods in nats."""

    base: Number | None
    """The base model's value; null without a base."""
    edited: Number
    """The evaluated model's value."""
    delta: Number | None
    """edited − base, computed before rounding; null without a base."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.base is None) != (self.delta is None):
            raise ValueError("base and delta come together: both, or both null")
        return self


class ChangeWithInterval(Change):
    """A change and the uncertainty of its delta."""

    ci: Interval95 | None
    """95 % interval of delta, clustered by subject; null without a base, with one subject, or if nothing changed."""

    @model_validator(mode="after")
    def _interval_needs_a_base(self) -> Self:
        if self.ci is not None and self.base is None:
            raise ValueError("ci is the interval of delta, so it needs a base")
        return self


class Clean(Change):
    """Success on the evaluation rows that the audit did not flag."""

    n: Count
    """Clean evaluation rows."""


class HardNegatives(ChangeWithInterval):
    """Mean −log p(y|x) over the hard negatives, nats; positive delta = the edit over-generalised."""

    n: Count
    """Hard negatives."""
    n_subjects: Count | None
    """Their clusters; null where a reported row does not say."""


class TaskResult(Part):
    """One task, one model."""

    loss: str
    """nll, likelihood, balance or preference."""
    threshold: Annotated[float, Field(strict=True)]
    """Success iff loss <= threshold, nats, not rounded: it is a definition, not a measurement."""
    n: Count
    """Evaluation rows."""
    n_subjects: Count | None
    """Their subjects, the clusters of the intervals; null where a reported row does not say."""
    success: ChangeWithInterval
    """Success rate in percent."""
    clean: Clean | None
    """The same on clean rows; null if there is none."""
    hard_negatives: HardNegatives | None
    """Null if the task has none, or a reported row does not give them."""


class Average(Part):
    """The unweighted mean over tasks."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """The tasks averaged over."""
    n_tasks: Count
    """How many."""
    complete: bool
    """Whether these are the six standard tasks; only such averages are comparable with the papers'."""
    success: ChangeWithInterval
    """Percent."""
    clean: Change | None
    """The same on clean rows; null if a task has none."""
    hard_negatives: ChangeWithInterval | None
    """Nats; null if a task has none."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.n_tasks != len(set(self.tasks)) or self.complete != is_complete(self.tasks):
            raise ValueError("n_tasks and complete must agree with tasks")
        return self


def is_complete(tasks: tuple[str, ...]) -> bool:
    """Whether these are the six standard tasks."""
    return set(tasks) == set(TASKS)


class General(Part):
    """Loss on general text G (docs/reference/protocol.md#4-leagues)."""

    name: str
    """Which general text, e.g. openwebtext-500."""
    data_hash: str | None
    """SHA-256 of the part that was scored; null where a reported row does not give it."""
    n_chunks: Count | None
    """Chunks scored; null where a reported row does not say."""
    n_tokens: Count | None
    """Tokens scored."""
    base: Number | None
    """The base's loss, nats per token; null without a base."""
    edited: Number | None
    """The evaluated model's loss, nats per token; null in an edit run, where every candidate has its own."""
    ratio: Ratio | None
    """edited / base."""
    ratio_ci: RatioInterval95 | None
    """95 % interval over chunks; null with one chunk only, or if nothing changed."""
    straddles: tuple[LeagueName, ...] | None
    """The leagues whose line 1 + ε lies within ratio_ci, so that other text could say otherwise; null without one."""
    noise_floor: NoiseFloor | None
    """|b/a − 1| of the base's loss measured twice with chunks batched differently."""
    leagues: dict[LeagueName, Membership | None]
    """Per league: in, out, or uncertain when 1 + ε lies within the noise floor of the ratio; null without a ratio."""


class Seed(Part):
    """One of the repetitions that a league's result is the mean of."""

    seed: Annotated[int, Field(strict=True, ge=0)]
    """The seed."""
    candidate: Count | None
    """The candidate taken for this seed, counted from 1; null = the unedited model."""
    success: Number
    """Its success rate in percent."""
    ratio: Ratio
    """Its loss ratio."""
    membership: Membership
    """Its membership of this league."""


class LeagueTask(TaskResult):
    """One task of an edit run in one league: the chosen candidate, means over seeds
    (docs/reference/protocol.md#5-selection)."""

    standard_error: Number | None
    """Of success.edited over seeds, points; null with one seed."""
    ratio: Ratio | None
    """Loss ratio on G, mean over seeds; null where a reported row does not give it."""
    ratio_ci: RatioInterval95 | None
    """95 % interval over chunks; null as in ``general``."""
    straddles: bool | None
    """Whether this league's line 1 + ε lies within ratio_ci; null without one."""
    membership: Membership | None
    """In this league or not; null where a reported row does not say."""
    candidate: Count | None
    """The candidate chosen on val, counted from 1; null = the unedited model, or not reported."""
    seeds: tuple[Seed, ...] | None
    """Every repetition; null where a reported row does not give them."""


class League(Part):
    """All tasks of an edit run in one league."""

    tasks: Annotated[dict[str, LeagueTask], Field(min_length=1)]
    """By task name."""
    average: Average
    """Over these tasks."""
