"""Pure functions on log-probabilities: losses, success, intervals, leagues, protocols. No model, no files."""

from canonbench.scoring.intervals import (
    NOTHING_CHANGED,
    Estimate,
    Interval,
    mean_change,
    mean_of_estimates,
    ratio,
    ratio_change,
    success_change,
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
    "Estimate",
    "Interval",
    "Loss",
    "Membership",
    "Protocol",
    "general_loss",
    "loss",
    "loss_ratio",
    "mcnemar",
    "mean_change",
    "mean_loss",
    "mean_of_estimates",
    "membership",
    "noise_floor",
    "protocol",
    "protocol_from_mapping",
    "ratio",
    "ratio_change",
    "require_finite",
    "straddles",
    "success_change",
    "success_rate",
    "successes",
    "task_loss",
]
