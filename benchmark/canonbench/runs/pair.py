"""The two models of an evaluation, one in memory at a time: the base first, then the edited one."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonbench.errors import UsageError
from canonbench.models.ensemble_name import is_ensemble
from canonbench.models.fingerprint import Fingerprint
from canonbench.models.load import LoadedModel, Loading, base_name, in_memory, load_model, require_unchanged

ModelLike = str | Path | Any
"""A name for ``load_model``, or a model in memory."""


@dataclass(frozen=True)
class Opener:
    """How to get at one of the two models, as often as needed."""

    model: ModelLike
    tokenizer: Any
    how: Loading
    base: str | Path | None = None
    """For an adapter: the base to put it on."""

    @property
    def is_name(self) -> bool:
        """Whether the model is loaded from a name (and can be let go and loaded again)."""
        return isinstance(self.model, str | Path)

    def open(self) -> LoadedModel:
        """Load the model, or wrap the one in memory."""
        if self.is_name:
            return load_model(self.model, self.how, base=self.base)
        return in_memory(
            self.model, self.tokenizer, getattr(self.model, "name_or_path", "") or type(self.model).__name__
        )

    def open_again(self, mark: Fingerprint) -> LoadedModel:
        """Load the model once more; CanonbenchError if it is not what it was when ``mark`` was taken."""
        loaded = self.open()
        require_unchanged(loaded, mark)
        return loaded


def openers(model: ModelLike, base: ModelLike | None, tokenizer: Any, how: Loading) -> tuple[Opener, Opener | None]:
    """The edited model and its base; an adapter's base is the one it names unless ``base`` is given.

    An ensemble's is its large model; there ``base`` is that of the small edit.

    Raises:
        UsageError: a model in memory without a tokenizer.
    """
    for each in (model, base):
        if each is not None and not isinstance(each, str | Path) and tokenizer is None:
            raise UsageError("a model in memory needs its tokenizer: evaluate(model, tokenizer=tokenizer, ...)")
    named_base = base if isinstance(base, str | Path) else None
    if is_ensemble(model) or (base is None and isinstance(model, str | Path)):
        base = base_name(model, how)
    edited = Opener(model, tokenizer, how, base=named_base)
    return edited, None if base is None else Opener(base, tokenizer, how)


def free(loaded: LoadedModel) -> None:
    """Let go of a model's memory before the next one is loaded."""
    loaded.model = None
    gc.collect()
