"""Canonical examples in front of everything the model reads: an edit without changed weights."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from canonbench.editing.contract import EditRequest
from canonbench.editing.training.settings import STRICT
from canonbench.errors import CanonbenchError
from canonbench.likelihood import Encoder
from canonbench.models import InContext, context_length
from canonbench.suite import Example

if TYPE_CHECKING:
    from canonbench.models import InContext


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InContextSettings:
    """Of canonical examples in front."""

    shots: Annotated[int, Field(ge=1)] = 8
    """How many canonical examples stand in front, drawn by the seed; all of them where a task has fewer."""
    separator: Annotated[str, Field(min_length=1)] = "\n"
    """What ends each example, the last one too."""


def edit(model: Any, tokenizer: Any, request: EditRequest[InContextSettings]) -> InContext:
    """Put a context of canonical examples before every sequence, general text included.

    The part of an example that is shown depends on the task's loss:

    - ``nll``, ``preference``: the prefix and the right continuation, which should become more likely.
    - ``balance``: two lines, one per continuation, in random order by the seed, since both should be equally likely.
    - ``likelihood``: the prefix alone. Its only continuation is the stereotype, and text in a context becomes more
      likely; without it, the lines show that such a prefix may be followed by something else, the end of the line.

    The context begins with the tokenizer's special tokens for the start of a text (BOS). The sequence after it is
    tokenised as usual (docs/reference/protocol.md#1-log-likelihood), with its own BOS if the tokenizer has one, like a
    new document.

    Raises:
        CanonbenchError: there are no canonical examples, the context leaves no room for the longest available text
            (canonical or regularisation), or the model does not support a context.
    """

    if not request.canonical:
        raise CanonbenchError(f"task {request.task}: no canonical examples to put in front")
    settings = request.hyperparameters
    pairs = lines(request.canonical, request.loss, settings, request.seed)
    encoder = Encoder.of(tokenizer)
    ids = list(encoder.before)
    for line in encoder.pairs(pairs):
        ids += line.ids[len(encoder.before) :]
    _require_room(model, encoder, ids, request)
    return InContext(model, ids, "".join(prefix + continuation for prefix, continuation in pairs))


def lines(canonical: Sequence[Example], loss: str, settings: InContextSettings, seed: int) -> list[tuple[str, str]]:
    """Return the lines of the context: pairs of a prefix, and a continuation with the separator."""
    draw = random.Random(seed)
    shown = []
    for example in draw.sample(canonical, min(settings.shots, len(canonical))):
        continuations = [example.suffix_a]
        if loss == "likelihood":
            continuations = [""]
        elif loss == "balance" and example.suffix_b is not None:
            continuations = draw.sample([example.suffix_a, example.suffix_b], 2)
        shown += [(example.prefix, continuation + settings.separator) for continuation in continuations]
    return shown


def _require_room(model: Any, encoder: Any, ids: Sequence[int], request: EditRequest[InContextSettings]) -> None:
    """Raise CanonbenchError if the longest text that the method can see does not fit after the context.

    The evaluation data are not known here; a longer text among them raises when it is scored.
    """

    limit = context_length(model)
    texts = sorted(request.regularization, key=len)[-1:]  # the longest in characters is roughly the longest in tokens
    pairs = [(each.prefix, each.suffix_a) for each in request.canonical]
    longest = max(len(found.ids) for found in (*encoder.texts(texts), *encoder.pairs(pairs)))
    if limit is not None and len(ids) + longest > limit:
        raise CanonbenchError(
            f"{len(ids)} tokens of examples in front leave {max(0, limit - len(ids))} of the model's {limit}, but "
            f"texts have up to {longest}; set shots below {min(request.hyperparameters.shots, len(request.canonical))}"
        )
