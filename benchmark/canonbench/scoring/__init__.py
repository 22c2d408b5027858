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
from canonbench.scoring.losses import LOSSES, Loss, loss, mean_loss, require_finite, success_rate, successes, task_loss
from canonbench.scoring.mcnemar import mcnemar
from canonbench.scoring.protocol import PROTOCOLS, Protocol, protocol, protocol_from_mapping, read_leagues
from canonbench.scoring.selection import UNEDITED, Judged, choose_on_test, choose_on_val, in_league, next_to_measure

__all__ = [
    "LEAGUES",
    "LOSSES",
    "NOTHING_CHANGED",
    "PROTOCOLS",
    "UNEDITED",
    "Estimate",
    "Interval",
    "Judged",
    "Loss",
    "Membership",
    "Protocol",
    "choose_on_test",
    "choose_on_val",
    "general_loss",
    "in_league",
    "loss",
    "loss_ratio",
    "mcnemar",
    "mean_change",
    "mean_loss",
    "mean_of_estimates",
    "membership",
    "next_to_measure",
    "noise_floor",
    "protocol",
    "protocol_from_mapping",
    "ratio",
    "ratio_change",
    "read_leagues",
    "require_finite",
    "straddles",
    "success_change",
    "success_rate",
    "successes",
    "task_loss",
]
