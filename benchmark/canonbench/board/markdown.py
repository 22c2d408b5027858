"""Render the board in Markdown: its full page, and its head for the repository's README.

All text that comes from a row is escaped, so that it cannot act as Markdown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from urllib.parse import quote

from canonbench.board.board import Board, Entry, Excluded, Table
from canonbench.board.points import Field, base_of, fields, method_of
from canonbench.board.texts import excess, file_of, group_details, interval, ranked_by, signed, table_title
from canonbench.results import Row
from canonbench.suite import TASKS

SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&!]|(?<=\w):(?=//)|(?<=www)\.|(?<=\w)@", re.IGNORECASE)
"""Characters with a meaning in Markdown, its tables, mathematics, or automatic links."""
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
"""Unicode categories of characters that are invisible or change how others are displayed."""


def one_line(text: str) -> str:
    """Remove line breaks from the text, and replace every invisible character by a mark."""
    line = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(character) in UNSEEN else character for character in line)


def escape(text: str) -> str:
    """Escape the text in one line, for a table cell or the middle of a paragraph."""
    return SPECIAL.sub(r"\\\g<0>", one_line(text))


def link(text: str, *path: str) -> str:
    """Format a link to a file of the repository by a relative path; both text and path may come from a row."""
    return f"[{escape(text)}]({'/'.join(part if part == '..' else quote(part, safe='') for part in path)})"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table; a column whose name begins with ``>`` is right-aligned. Cells must already be Markdown."""
    heads = [name.removeprefix(">") for name in columns]
    rules = ["---:" if name.startswith(">") else "---" for name in columns]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rules, *rows))


FIRST = 3
"""Number of rows of each league in the head."""
PAGE = "index.html"
PLOTS = "plots"
ABOUT = """\
# Leaderboard

Written by `canonbench leaderboard build` from [rows/](rows). What is changed here by hand is lost, and
`canonbench leaderboard check` says so. [index.html](index.html), opened in a browser, is the same to sort and filter,
with the details of every row.

Rows of one comparable group (data, general text, protocol, precision) and track stand in one table; each edits a base
model, which need not be its neighbour's. Δ is success after the edit − before it, in percentage points; the average is
over the six tasks. Its 95 % interval is [low, high], over subjects, or ± 1.96 standard errors over
runs where that is what a publication gives. Hard negatives Δ is in nats; a positive one means that the edit spread too
far. Ratio − 1 is the rise of the loss on general text, on the worst task.

Every row is compared with the best row of the rank above it; if nothing tells the two apart at 5 %, it shares that
rank. A row without a rank is shown for the record, and its note says why. A method links to the folder that says what
it is and how it was tuned.
"""
HEAD_ABOUT = """\
Average Δ success over the six tasks by league, in points, and (rank): the first rows of every league. Rows that nothing
tells apart share a rank. [The whole board](leaderboard/README.md).
"""
COLUMNS = (
    *(">rank", "method", "base model"),
    *(f">{name}" for name in TASKS),
    *(">average Δ", "95 %", ">hard negatives Δ", ">ratio − 1", "state", "row", "note"),
)


def board_page(board: Board, pictures: Sequence[str] = ()) -> str:
    """Render ``leaderboard/README.md``: every table, the notes on its rows, the plots, and the excluded rows.

    ``pictures`` are names of files in the folder ``PLOTS`` next to it.
    """
    parts = [ABOUT]
    for _, found in groupby(fields(board), key=lambda field: field.group):
        parts += _group(list(found))
    if not board.tables:
        parts.append("No row yet.\n")
    if pictures:
        parts += ["## Plots\n", *(f"!{link(name, PLOTS, name)}\n" for name in pictures)]
    if board.excluded:
        parts += ["## Left out\n", _excluded(board.excluded)]
    return "\n".join(parts)


def head(board: Board) -> str:
    """Render the first rows of every league measured on a test split, one table per group and track.

    Links are relative to the repository's root.
    """
    parts = []
    for field in fields(board):
        if field.group.split == "test":
            parts += [f"**{escape(field.name)}, {field.track}**\n", _head(field.tables)]
    return "\n".join([*parts, HEAD_ABOUT])


def _group(found: Sequence[Field]) -> Iterator[str]:
    """Render the fields of one group, one per track."""
    tables = [table for field in found for table in field.tables]
    notes = _notes(tables)
    yield f"## {escape(found[0].name)}\n"
    if details := group_details(found[0].group):
        yield f"{escape(details)}\n"
    for each in tables:
        yield f"### {escape(table_title(each))}\n"
        yield table(COLUMNS, (_cells(entry, notes) for entry in each.entries))
        if said := ranked_by(each):
            yield f"{said}\n"
    if notes:
        yield table((">note", "on rows of this group"), ([str(n), escape(note)] for note, n in notes.items()))


def _notes(tables: Sequence[Table]) -> dict[str, int]:
    """Number the group's distinct notes in order of appearance."""
    notes: dict[str, int] = {}
    for each in tables:
        for entry in each.entries:
            if entry.note is not None:
                notes.setdefault(entry.note, len(notes) + 1)
    return notes


def _cells(entry: Entry, notes: dict[str, int]) -> list[str]:
    row, hard = entry.placed.row, entry.average.hard_negatives
    return [
        "" if entry.rank is None else str(entry.rank),
        _method(row, ".."),
        escape(base_of(row)),
        *(_delta(entry, name) for name in TASKS),
        f"**{signed(entry.delta, 2)}**",
        interval(entry),
        "" if hard is None or hard.delta is None else signed(hard.delta, 3),
        excess(entry),
        row.state,
        link(row.row_id, "rows", file_of(entry.placed.place)),
        "" if entry.note is None else str(notes[entry.note]),
    ]


def _delta(entry: Entry, name: str) -> str:
    delta = entry.tasks[name].success.delta
    return "" if delta is None else signed(delta, 1)


def _method(row: Row, *up: str) -> str:
    name = method_of(row)
    return escape(name) if row.submission is None else link(name, *up, "submissions", row.submission)


def _excluded(excluded: Sequence[Excluded]) -> str:
    rows = (
        [
            link(placed.row.row_id, "rows", file_of(placed.place)),
            _method(placed.row, ".."),
            escape(base_of(placed.row)),
            escape(reason),
        ]
        for placed, reason in excluded
    )
    return table(("row", "method", "base model", "reason"), rows)


def _head(tables: Sequence[Table]) -> str:
    """The rows that are among the first in at least one league, in the order of the widest."""
    leagues = [each.league for each in tables]
    entries: dict[str, dict[str, Entry]] = {}
    for each in tables:
        for entry in each.entries:
            entries.setdefault(entry.placed.row.row_id, {})[each.league] = entry
    first = {entry.placed.row.row_id for each in tables for entry in each.entries[:FIRST] if entry.rank is not None}
    lines = (
        [*_who(next(iter(found.values()))), *(_in_league(found.get(league)) for league in leagues)]
        for row_id, found in entries.items()
        if row_id in first
    )
    return table(("method", "base model", *(f">{league}" for league in leagues)), lines)


def _who(entry: Entry) -> list[str]:
    return [_method(entry.placed.row), escape(base_of(entry.placed.row))]


def _in_league(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return signed(entry.delta, 2) + ("" if entry.rank is None else f" ({entry.rank})")
