"""Look at a model before it is scored: what it is, what it would be asked, and whether it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from canonbench.errors import CanonbenchError
from canonbench.likelihood.tokens import Encoder, check_lengths
from canonbench.models.face import context_length, readable_ids, vocabulary_size
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load import LoadedModel
from canonbench.runs.pair import Opener
from canonbench.runs.questions import Question, Unit, general_unit, require_same, task_unit
from canonbench.runs.settings import Asked


@dataclass(frozen=True)
class Seen:
    """A model that has been looked at; true also after it was let go."""

    loaded: LoadedModel
    fingerprint: Fingerprint
    units: list[Unit]
    vocabulary: int
    dtype: str
    device: str


def look(opener: Opener, asked: Asked, questions: Sequence[Question]) -> Seen:
    """Load a model, take its fingerprint, tokenise all that it will be asked and see that it fits.

    Raises:
        CanonbenchError: the model cannot be loaded or scored, or a text is too long for it; it is named.
    """
    loaded = opener.open()
    encoder = Encoder.of(loaded.tokenizer)
    units = [task_unit(rows, encoder) for rows in questions]
    if asked.general is not None:
        units.append(general_unit(asked.general, asked.general_part, asked.limit, encoder))
    context, readable = context_length(loaded.model), readable_ids(loaded.model)
    with _about(loaded):
        for unit in units:
            check_lengths(unit.requests, unit.origins, context=context, vocabulary=readable)
        weights = fingerprint(loaded.model)
    vocabulary = vocabulary_size(loaded.model)
    return Seen(loaded, weights, units, vocabulary=vocabulary, dtype=loaded.dtype, device=loaded.device.type)


def require_comparable(edited: Seen, base: Seen) -> None:
    """Base and edited must share a vocabulary and a tokenisation, and differ in weights.

    Raises:
        CanonbenchError: they do not; what to do is said.
    """
    if edited.vocabulary != base.vocabulary:
        raise CanonbenchError(
            f"vocabulary mismatch: the edited model has {edited.vocabulary} output rows, the base {base.vocabulary}; "
            "their losses cannot be compared"
        )
    if edited.fingerprint.key == base.fingerprint.key:
        adapter = edited.loaded.source.kind == "peft"
        what = "the adapter changes nothing" if adapter else "base and edited model are the same"
        raise CanonbenchError(f"{what} (fingerprint {edited.fingerprint.weights[:12]}): there is no edit to evaluate")
    require_same(edited.units, base.units)


@contextmanager
def _about(loaded: LoadedModel) -> Iterator[None]:
    """Let an error name the model, of which a run has two."""
    try:
        yield
    except CanonbenchError as error:
        raise type(error)(f"{error} (model {loaded.source.name})") from error
