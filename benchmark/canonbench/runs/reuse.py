"""What an edit leaves of its base's scores, to the last bit, so that it need not be computed again.

An output of a Backpack is a weighted sum of the senses of the words so far, and edited senses do not move the weights.
So outputs before the first word with an edited sense are the base's.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from canonbench.likelihood.pack import Pack
from canonbench.likelihood.tokens import Request
from canonbench.models.face import text_config
from canonbench.models.fingerprint import Fingerprint
from canonbench.models.sense_edit_file import is_of_edit
from canonbench.runs.measured import Measured
from canonbench.runs.questions import Unit

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reuse:
    """The base's scores, and the words whose place decides which of them an edit leaves as they are."""

    words: frozenset[int]
    """Token ids: outputs before the first of them are the base's."""
    base: Mapping[str, Measured]
    """By unit."""

    def of(self, unit: Unit) -> Unchanged | None:
        """What is left of a unit's scores; None if the base's tokens were not kept."""
        tokens = self.base[unit.name].tokens
        if tokens is None:
            return None
        return Unchanged([unchanged_tokens(request, self.words) for request in unit.requests], tokens)


def reuse_between(model: Any, base: Fingerprint, edited: Fingerprint, measured: Mapping[str, Measured]) -> Reuse | None:
    """What an edited model leaves of its base's scores; None if that cannot be told from what differs.

    Args:
        model: the edited one.
        base: what its base is.
        edited: what it is.
        measured: the base's scores.
    """
    changed = {name for name, _ in edited.tensors.items() ^ base.tensors.items()}
    if not changed or not all(map(is_of_edit, changed)) or changed & base.tensors.keys():
        return None
    edit = model.backpack.sense_edit
    return Reuse(frozenset(edit.token_ids[edit.deltas.any(1)].tolist()), measured)


def keeps_tokens(model: Any) -> bool:
    """Whether the log-probabilities of a base's tokens are worth keeping: an edit may leave some as they are."""
    return bool(text_config(model).model_type == "backpack")


def unchanged_tokens(request: Request, words: Container[int]) -> int:
    """How many of a request's scored tokens, from its first, are predicted before any of ``words`` is seen."""
    ids, start = request
    first = next((place for place, token in enumerate(ids[:-1]) if token in words), len(ids) - 1)
    return max(0, first + 1 - start)


@dataclass(frozen=True)
class Unchanged:
    """What is left of a unit's scores."""

    counts: list[int]
    """Per request: its first so many scored tokens keep the base's log-probabilities."""
    base: Mapping[int, Values]
    """Per request, the base's log-probabilities."""

    def rest(self, pack: Pack) -> Pack | None:
        """The pack, asked only for the tokens that do change; None if none does."""
        counts = np.asarray([self.counts[request] for request in pack.request])
        return pack.only(pack.places >= counts)

    def completed(self, pack: Pack, found: Mapping[int, Values]) -> dict[int, Values]:
        """Of each request of the pack, the base's log-probabilities and after them those ``found`` for the rest."""
        return {
            request: np.concatenate([self.base[request][: self.counts[request]], found.get(request, ())])
            for request in pack.requests
        }
