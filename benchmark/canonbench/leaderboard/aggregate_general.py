"""Loss on general text: the base's, how it varies between two measurements, and the ratios of what was edited."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from canonbench.errors import CanonbenchError
from canonbench.leaderboard.aggregate_examples import Block
from canonbench.scoring import (
    Interval,
    Protocol,
    draw,
    general_loss,
    loss_ratio,
    noise_floor,
    percentile_interval,
    ratio_units,
    stream,
)


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
    """The loss ratio of every repetition, their mean, and its 95 % paired bootstrap interval over chunks."""

    each: tuple[float, ...]
    mean: float
    ci: Interval | None


def base_loss(block: Block) -> BaseLoss:
    """The base's general loss and its noise floor, from the chunks that it was scored on twice.

    CanonbenchError if there is none, or no base.
    """
    twice = ~np.isnan(block.base_again)
    if block.base is None or not twice.any():
        raise CanonbenchError("general text: the base was not scored twice, so membership cannot be told from noise")
    once, again = (general_loss(nll[twice], block.n_tokens[twice]) for nll in (block.base, block.base_again))
    return BaseLoss(general_loss(block.base, block.n_tokens), noise_floor(once, again))


def loss_ratios(blocks: Sequence[Block], base: float, protocol: Protocol, seed: int) -> Ratios:
    """The ratios of one block per repetition, all with the same base, whose loss is ``base`` nats per token.

    The interval's draws are of Σ (mean over repetitions of the edited NLL) / Σ base NLL: as all repetitions share the
    denominator, that is the mean of their ratios.
    """
    assert blocks[0].base is not None
    each = tuple(loss_ratio(base, general_loss(block.edited, block.n_tokens)) for block in blocks)
    units = ratio_units(blocks[0].base, np.mean([block.edited for block in blocks], axis=0))
    draws = draw(units, resamples=protocol.bootstrap_resamples, generator=stream(seed, "general"))
    return Ratios(each, fmean(each), percentile_interval(draws))
