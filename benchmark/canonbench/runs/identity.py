"""What a run is: all that its row's numbers depend on. A run folder keeps to one identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from canonbench.likelihood.engine import SCORER_VERSION
from canonbench.runs.look import Seen
from canonbench.runs.settings import Asked
from canonbench.runs.store import content_key


def run_identity(
    asked: Asked, seen: Seen, batch_tokens: int | None, *, named: Mapping[str, Any], hashed: Mapping[str, Any]
) -> dict[str, Any]:
    """First what a person would name, then by content: the first difference between two runs is what people are told.

    Args:
        asked: which data, by which rules.
        seen: the model that is asked.
        batch_tokens: what goes through it at once.
        named: what else of the verb a person would name.
        hashed: what else of it is known by content.
    """
    return {
        **named,
        "suite": asked.suite.name,
        "tasks": asked.tasks,
        "split": asked.split,
        "general": asked.general.name if asked.general else None,
        "limit": asked.limit,
        "protocol": asked.protocol.name,
        "dtype": seen.dtype,
        "device": seen.device,
        "batch_tokens": batch_tokens,
        "scorer": SCORER_VERSION,
        **hashed,
        "suite_spec": content_key(asked.suite.spec.model_dump_json()),
        "data_hash": asked.suite.data_hash(asked.split),
        "token_ids": content_key(*(unit.digest for unit in seen.units)),
    }
