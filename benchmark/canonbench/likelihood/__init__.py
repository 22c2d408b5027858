"""Exact log-likelihoods of continuations and texts under a causal LM, computed in packed batches."""

from canonbench.likelihood.blocks import decoder_blocks
from canonbench.likelihood.engine import (
    SCORER_VERSION,
    Estimate,
    NotFinite,
    auto_batch_tokens,
    estimate,
    log_likelihoods,
    plan,
    score,
    under,
)
from canonbench.likelihood.forward import log_probs_of
from canonbench.likelihood.packs import Pack
from canonbench.likelihood.reuse import (
    STATES_BUDGET,
    Reuse,
    StateCache,
    States,
    budget_bytes,
    keeps_tokens,
    unchanged_scores,
)
from canonbench.likelihood.tokens import Encoder, Request, check_lengths

__all__ = [
    "SCORER_VERSION",
    "STATES_BUDGET",
    "Encoder",
    "Estimate",
    "NotFinite",
    "Pack",
    "Request",
    "Reuse",
    "StateCache",
    "States",
    "auto_batch_tokens",
    "budget_bytes",
    "check_lengths",
    "decoder_blocks",
    "estimate",
    "keeps_tokens",
    "log_likelihoods",
    "log_probs_of",
    "plan",
    "score",
    "unchanged_scores",
    "under",
]
