"""Pure functions on log-probabilities: losses, success, intervals, leagues, protocols. No model, no files."""

from canonbench.scoring.bootstrap import (
    Interval,
    Units,
    difference_units,
    draw,
    mean_draw,
    percentile_interval,
    ratio_units,
    stream,
)
from canonbench.scoring.leagues import LEAGUES, Membership, general_loss, loss_ratio, membership, noise_floor
from canonbench.scoring.losses import LOSSES, Loss, loss, task_loss
from canonbench.scoring.mcnemar import mcnemar
from canonbench.scoring.protocol import PROTOCOLS, Protocol, protocol, protocol_from_mapping
from canonbench.scoring.success import mean_loss, require_finite, success_rate, successes

__all__ = [
    "LEAGUES",
    "LOSSES",
    "PROTOCOLS",
    "Interval",
    "Loss",
    "Membership",
    "Protocol",
    "Units",
    "difference_units",
    "draw",
    "general_loss",
    "loss",
    "loss_ratio",
    "mcnemar",
    "mean_draw",
    "mean_loss",
    "membership",
    "noise_floor",
    "percentile_interval",
    "protocol",
    "protocol_from_mapping",
    "ratio_units",
    "require_finite",
    "stream",
    "success_rate",
    "successes",
    "task_loss",
]
