"""What every page calls the parts of the board."""

from __future__ import annotations

from canonbench.leaderboard.board import Entry, RankedBy, Table
from canonbench.leaderboard.row import ComparableGroup

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
