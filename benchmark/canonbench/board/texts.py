"""What every page calls the parts of the board.

What a row says beside its numbers: with what it was measured, as names and texts for people.

The texts that a page may show: those of the embedded suite, which this project wrote, and no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from canonbench.board.board import Entry, RankedBy, Table
from canonbench.board.points import base_of, method_of
from canonbench.model_names import portable
from canonbench.results import ComparableGroup, Merged, ModelReference, Row
from canonbench.suite import Example, SplitName, Suite

RANKED_BY: dict[RankedBy | None, str] = {
    "paired": "Ranked by paired tests on per-example values.",
    "intervals": "Ranked by whether intervals overlap.",
    "mixed": "Ranked by paired tests where both rows have per-example values, else by whether intervals overlap.",
    None: "No two of these rows give an interval, so nothing tells them apart.",
}
HASH = 12
"""Hexadecimal digits by which a data hash is shown."""


def group_details(group: ComparableGroup) -> str:
    """The hashes that all rows of the group share; nothing where publications give none."""
    known = [("Data", group.data_hash), ("general text", group.general_hash)]
    said = ", ".join(f"{what} {digest[:HASH]}" for what, digest in known if digest is not None)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def table_title(table: Table) -> str:
    """The table within its group."""
    return f"{table.track}, league {table.league}"


def ranked_by(table: Table) -> str:
    """How the table was ranked; nothing where there is only one row to rank."""
    ranked = sum(entry.rank is not None for entry in table.entries)
    return RANKED_BY[table.ranked_by] if ranked > 1 else ""


def file_of(place: str) -> str:
    """The file in ``leaderboard/rows`` that a row stands in."""
    return place.rpartition(":")[0]


def signed(value: float, decimals: int) -> str:
    """With its sign, a real minus; zero has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def interval(entry: Entry) -> str:
    """95 % of the average: the row's own as [low, high], ± 1.96 standard errors otherwise."""
    if entry.interval is None:
        return ""
    if entry.average.success.ci is None:
        return f"± {entry.interval.high - entry.delta:.2f}"
    return f"[{signed(entry.interval.low, 2)}, {signed(entry.interval.high, 2)}]"


def excess(entry: Entry) -> str:
    """By how much the largest loss ratio exceeds 1."""
    if entry.ratio is None:
        return ""
    beyond = entry.ratio - 1
    return "0" if beyond == 0 else f"{beyond:+.1e}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e+")


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


EMBEDDED = "mini"
SPLITS: dict[str, SplitName] = {"val": "val", "test": "test"}
SuiteTexts = Mapping[str, Sequence[Example]]
"""Evaluation examples by task, in the order of their index."""


def embedded_texts(group: ComparableGroup) -> SuiteTexts | None:
    """The group's evaluation examples; None unless its data are, by hash, the embedded suite's."""
    if group.suite.partition(" ")[0] != EMBEDDED:
        return None
    suite, split = Suite.load(EMBEDDED), SPLITS[group.split]
    return evaluation_texts(suite, split) if suite.data_hash(split) == group.data_hash else None


def evaluation_texts(suite: Suite, split: SplitName) -> SuiteTexts:
    """A split's evaluation examples."""
    tables = {name: suite.task(name).split(split).evaluation for name in suite.tasks}
    return {
        name: [Example(*each) for each in zip(*(table[column] for column in Example._fields), strict=True)]
        for name, table in tables.items()
    }
