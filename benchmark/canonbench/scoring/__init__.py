"""Pure functions on log-probabilities: losses, success, intervals, leagues, protocols. No model, no files."""

from canonbench.scoring.intervals import (
    NOTHING_CHANGED,
    Interval,
    mean_interval,
    mean_of_intervals,
    quotient_difference_interval,
    ratio_interval,
    success_interval,
)
from canonbench.scoring.leagues import LEAGUES, Membership, general_loss, loss_ratio, membership, noise_floor, straddles
from canonbench.scoring.losses import LOSSES, Loss, loss, task_loss
from canonbench.scoring.mcnemar import mcnemar
from canonbench.scoring.protocol import PROTOCOLS, Protocol, protocol, protocol_from_mapping
from canonbench.scoring.success import mean_loss, require_finite, success_rate, successes

__all__ = [
    "LEAGUES",
    "LOSSES",
    "NOTHING_CHANGED",
    "PROTOCOLS",
    "Interval",
    "Loss",
    "Membership",
    "Protocol",
    "general_loss",
    "loss",
    "loss_ratio",
    "mcnemar",
    "mean_interval",
    "mean_loss",
    "mean_of_intervals",
    "membership",
    "noise_floor",
    "protocol",
    "protocol_from_mapping",
    "quotient_difference_interval",
    "ratio_interval",
    "require_finite",
    "straddles",
    "success_interval",
    "success_rate",
    "successes",
    "task_loss",
]
