"""Load the three parts of an ensemble and put them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.ensemble import Ensemble
from canonbench.models.ensemble_name import PREFIX, EnsembleName, parse_ensemble, require_plain
from canonbench.models.ensemble_parts import Apart, pair_of_edit
from canonbench.models.ensemble_tokens import shared_vocabulary
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import LoadedModel, Loading, base_name, edit_of, load_model
from canonbench.models.source import Source


def load_ensemble(source: Source, how: Loading, base: str | Path | None) -> LoadedModel:
    """The ensemble that a source names, with the large model's tokenizer; its name then holds all three parts and β.

    Args:
        source: of the kind ``ensemble``.
        how: device, dtype, trust.
        base: the small model before its edit, instead of the one that the edit or the ensemble's name names.

    Raises:
        UsageError: it is not written as ensembles are, β is yet to be chosen, or nobody names the small base.
        CanonbenchError: a part cannot be loaded, the parts do not share a tokenizer, or they cannot be put together.
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
    """The name with the small model before its edit."""
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
    """A part by name, a hub id with its commit."""
    return source.name if source.revision is None else f"{source.name}@{source.revision}"
