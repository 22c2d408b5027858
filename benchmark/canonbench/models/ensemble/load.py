"""Load the three parts of an ensemble, find the vocabulary that they share, and combine them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError, UsageError
from canonbench.model_names import PREFIX, EnsembleName, parse_ensemble, require_plain
from canonbench.models.ensemble.model import Ensemble
from canonbench.models.ensemble.parts import Apart, pair_of_edit
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import LoadedModel, Loading, base_name, edit_of, load_model
from canonbench.models.source import Source

PROBES = (
    "The capital of France is Paris, and it isn't far.",
    " a leading space, two  spaces, a tab\tand\na line\n\n",
    "camelCase snake_case 3.14159 2024-02-29 x=f(y)[0]{1};",
    "Crème brûlée, Zoë, naïve, Œuvre: “quoted”, 100 €",
    "Москва, 東京, القاهرة, 서울, 🦉",
    "antidisestablishmentarianism ANTIDISESTABLISHMENTARIANISM",
)
"""Texts that tokenizers with different merges or pre-tokenization split differently."""


def shared_vocabulary(tokenizer: Any, other: Any, names: tuple[str, str]) -> int:
    """The number of token ids, from 0 up, with the same token in two tokenizers that split text alike.

    Their ordinary vocabularies must be the same. Tokens added to only one of them, such as those that pad GPT-J's
    vocabulary to 50,400, come after the shared ones.

    Raises:
        CanonbenchError: an ordinary token is missing or has another id, or a text is split differently.
    """
    own, others = _by_id(tokenizer), _by_id(other)
    top = 1 + max((*own, *others))
    count = next((token for token in range(top) if own.get(token) != others.get(token)), top)
    for words, each in ((own, tokenizer), (others, other)):
        added = set(each.get_added_vocab().values())
        if any(token >= count and token not in added for token in words):
            raise CanonbenchError(
                f"{names[0]} and {names[1]} have different vocabularies: token {count} is {own.get(count)!r} in the "
                f"one and {others.get(count)!r} in the other; the parts of an ensemble must share a tokenizer"
            )
    for text in PROBES:
        one, two = (each(text, add_special_tokens=False)["input_ids"] for each in (tokenizer, other))
        if one != two:
            raise CanonbenchError(
                f"{names[0]} and {names[1]} have different tokenizers: they cut {text!r} differently; "
                "the parts of an ensemble must share one"
            )
    return count


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {token: word for word, token in tokenizer.get_vocab().items()}


def load_ensemble(source: Source, how: Loading, base: str | Path | None) -> LoadedModel:
    """Load an ensemble with the large model's tokenizer; the name of the result includes all three parts and β.

    Args:
        source: a source of kind ``ensemble``.
        how: device, dtype, trust.
        base: the small model before its edit, instead of the one given by the edit or the ensemble's name.

    Raises:
        UsageError: the name is not a valid ensemble, β is not chosen yet, or the small base is not given.
        CanonbenchError: a part cannot be loaded, the parts do not share a tokenizer, or they cannot be combined.
    """
    name = parse_ensemble(source.name)
    if base is not None:
        require_plain(str(base), source.name)
        name = replace(name, base=str(base))
    if name.beta is None:
        raise UsageError(
            f"{source.name}: beta is chosen by 'canonbench evaluate --split val' alone; "
            "give the one that it chose, as in beta=0.5"
        )
    name = _with_base(name, how)
    large, after = load_model(name.large, how), load_model(name.small, how, base=name.base)
    pair = pair_of_edit(after.model, _edit_kind(name.small, how))
    tokenizers = {name.small: after.tokenizer}
    if pair is None:
        before = load_model(str(name.base), how)
        if fingerprint(after.model).key == fingerprint(before.model).key:
            raise CanonbenchError(f"{name.small} is {name.base}, unedited: there is no change to add to {name.large}")
        pair, tokenizers[str(name.base)] = Apart(after.model, before.model), before.tokenizer
    count = min(shared_vocabulary(large.tokenizer, own, (name.large, part)) for part, own in tokenizers.items())
    model = Ensemble(large.model, pair, beta=name.beta or 0.0, vocabulary=count)
    name = replace(name, large=_exact(large.source), small=_exact(after.source))
    return LoadedModel(model, large.tokenizer, Source("ensemble", str(name)))


def _with_base(name: EnsembleName, how: Loading) -> EnsembleName:
    """Complete the name with the small model before its edit; UsageError if it is unknown."""
    base = name.base or base_name(name.small, how)
    if base is None:
        raise UsageError(
            f"{name.small} is a whole model and does not say what it was before its edit; "
            f"give that with --base, or as {PREFIX}{name.large},{name.small},base=..."
        )
    return replace(name, base=base)


def _edit_kind(name: str, how: Loading) -> str | None:
    edit = edit_of(name, how)
    return None if edit is None else edit.kind


def _exact(source: Source) -> str:
    """The name of a part; a hub id includes its commit."""
    return source.name if source.revision is None else f"{source.name}@{source.revision}"
