"""What a row says beside its numbers: with what it was measured, as names and texts for people."""

from __future__ import annotations

import json
from pathlib import Path

from canonbench.leaderboard.pages.points import base_of, method_of
from canonbench.leaderboard.pages.words import signed
from canonbench.leaderboard.row import ComparableGroup, ModelReference, Row
from canonbench.leaderboard.row_merged import Merged
from canonbench.models.portable import portable

Fact = tuple[str, str]


def short_name(model: ModelReference) -> str:
    """The model's name; of a path the end alone, for a page may travel and a folder of this machine says nothing."""
    if model.source == "ensemble":
        return portable(model.name)
    return model.name if model.source == "hub" else Path(model.name).name


def group_facts(group: ComparableGroup) -> list[Fact]:
    """What all rows of a group have in common."""
    return [(name.replace("_", " "), str(value)) for name, value in group._asdict().items() if value is not None]


def hyperparameters(row: Row) -> list[Fact]:
    """Of the method, values as JSON."""
    return [(name, json.dumps(value, ensure_ascii=False)) for name, value in (row.hyperparameters or {}).items()]


def row_facts(row: Row) -> list[Fact]:
    """Everything else; what the row does not say is left out."""
    general, prints = row.general, row.fingerprints
    known = {
        "edited checkpoint": None if row.model.name in (base_of(row), method_of(row)) else short_name(row.model),
        **_merged(row.merged),
        "base revision": (row.base or row.model).revision,
        "base fingerprint": prints.base,
        "checkpoint fingerprint": prints.model,
        "dtype": row.dtype,
        "device": row.device,
        "general loss of the base": f"{general.base} nats per token" if general and general.base else None,
        "noise floor": f"{general.noise_floor:.2g}" if general and general.noise_floor is not None else None,
        "time spent scoring": f"{row.seconds:.0f} s" if row.seconds is not None else None,
        "peak memory": f"{row.peak_memory_bytes / 2**30:.1f} GiB" if row.peak_memory_bytes else None,
        "per-example values": f"{row.examples.file}, SHA-256 {row.examples.sha256}" if row.examples else None,
        "versions": ", ".join(f"{name} {version}" for name, version in row.versions.items()) or None,
    }
    return [(name, text) for name, text in known.items() if text]


def _merged(merged: Merged | None) -> dict[str, str | None]:
    """What a model was merged from, and what that cost its tasks."""
    if merged is None:
        return {}
    league = f", candidates of league {merged.league}" if merged.league else ""
    lost = [
        f"{name} {signed(edit.against_own, 2)} of {signed(edit.own_delta, 2)}"
        for name, edit in merged.edits.items()
        if edit.own_delta is not None and edit.against_own is not None
    ]
    return {
        "merged from": f"{', '.join(merged.edits)} ({', '.join(merged.methods)}) by {merged.how}{league}",
        "unedited tasks": ", ".join(merged.unedited) or None,
        "Δ success against the tasks' own edits": ", ".join(lost) or None,
    }
