"""Texts of the board's pages: titles of its parts, the facts of a row, and the examples that a page may show.

A page shows only examples of the embedded suite, which this project wrote.
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
"""Number of hexadecimal digits of a data hash shown."""


def group_details(group: ComparableGroup) -> str:
    """The hashes that all rows of the group share; empty if publications do not give them."""
    known = [("Data", group.data_hash), ("general text", group.general_hash)]
    said = ", ".join(f"{what} {digest[:HASH]}" for what, digest in known if digest is not None)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def table_title(table: Table) -> str:
    """Title of the table within its group."""
    return f"{table.track}, league {table.league}"


def ranked_by(table: Table) -> str:
    """Describe how the table was ranked; empty if only one row is ranked."""
    ranked = sum(entry.rank is not None for entry in table.entries)
    return RANKED_BY[table.ranked_by] if ranked > 1 else ""


def file_of(place: str) -> str:
    """The file in ``leaderboard/rows`` that holds a row."""
    return place.rpartition(":")[0]


def signed(value: float, decimals: int) -> str:
    """Format with a sign, using a real minus; zero has no sign."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def interval(entry: Entry) -> str:
    """Format the average's 95 % interval: the row's own as [low, high], otherwise as ± 1.96 standard errors."""
    if entry.interval is None:
        return ""
    if entry.average.success.ci is None:
        return f"± {entry.interval.high - entry.delta:.2f}"
    return f"[{signed(entry.interval.low, 2)}, {signed(entry.interval.high, 2)}]"


def excess(entry: Entry) -> str:
    """Format the largest loss ratio − 1."""
    if entry.ratio is None:
        return ""
    beyond = entry.ratio - 1
    return "0" if beyond == 0 else f"{beyond:+.1e}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e+")


Fact = tuple[str, str]


def short_name(model: ModelReference) -> str:
    """The model's name; for a path only its last part, because folders of this machine mean nothing elsewhere."""
    if model.source == "ensemble":
        return portable(model.name)
    return model.name if model.source == "hub" else Path(model.name).name


def group_facts(group: ComparableGroup) -> list[Fact]:
    """The facts that all rows of a group share."""
    return [(name.replace("_", " "), str(value)) for name, value in group._asdict().items() if value is not None]


def hyperparameters(row: Row) -> list[Fact]:
    """The method's hyperparameters, values as JSON."""
    return [(name, json.dumps(value, ensure_ascii=False)) for name, value in (row.hyperparameters or {}).items()]


def row_facts(row: Row) -> list[Fact]:
    """The row's other facts; those that the row does not give are left out."""
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
    """The edits that a model was merged from, and what each task lost in the merge."""
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
    """The evaluation examples of a split, by task."""
    tables = {name: suite.task(name).split(split).evaluation for name in suite.tasks}
    return {
        name: [Example(*each) for each in zip(*(table[column] for column in Example._fields), strict=True)]
        for name, table in tables.items()
    }
