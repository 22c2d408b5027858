"""Loss on general text: the base's, how it varies between two measurements, and the ratios of what was edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from canonbench.errors import CanonbenchError
from canonbench.leaderboard.aggregate_examples import Block, is_base
from canonbench.scoring import Interval, general_loss, loss_ratio, noise_floor, ratio, straddles


class GeneralText(NamedTuple):
    """Which general text the chunks are, for the row."""

    name: str
    data_hash: str


class BaseLoss(NamedTuple):
    """Of the unedited model."""

    loss: float
    """Nats per token."""
    noise_floor: float


class Ratios(NamedTuple):
    """The loss ratio of every repetition, their mean, and its 95 % interval over chunks."""

    each: tuple[float, ...]
    mean: float
    ci: Interval | None
    """None with one chunk only, or where no chunk's loss was changed: the ratio is 1 then, whatever the text."""

    def straddles(self, epsilon: float) -> bool | None:
        """Whether league ε's line lies within the interval; None without one."""
        return None if self.ci is None else straddles(self.ci, epsilon)

    def straddled(self, leagues: Mapping[str, float]) -> tuple[str, ...] | None:
        """The leagues (label to ε) whose line lies within the interval; None without one."""
        return None if self.ci is None else tuple(label for label in leagues if straddles(self.ci, leagues[label]))


def base_loss(block: Block) -> BaseLoss:
    """The base's general loss and its noise floor, from the chunks that it was scored on twice.

    CanonbenchError if there is none, or no base.
    """
    twice = ~np.isnan(block.base_again)
    if block.base is None or not twice.any():
        raise CanonbenchError("general text: the base was not scored twice, so membership cannot be told from noise")
    once, again = (general_loss(nll[twice], block.n_tokens[twice]) for nll in (block.base, block.base_again))
    return BaseLoss(general_loss(block.base, block.n_tokens), noise_floor(once, again))


def loss_ratios(blocks: Sequence[Block], base: float) -> Ratios:
    """The ratios of one block per repetition, all with the same base, whose loss is ``base`` nats per token.

    The interval is of Σ (mean over repetitions of the edited NLL) / Σ base NLL: as all repetitions share the
    denominator, that is the mean of their ratios.
    """
    assert blocks[0].base is not None
    each = tuple(loss_ratio(base, general_loss(block.edited, block.n_tokens)) for block in blocks)
    means = np.mean([block.edited for block in blocks], axis=0)
    estimate = None if is_base(blocks) else ratio(blocks[0].base, means)
    return Ratios(each, fmean(each), None if estimate is None else estimate.interval)
