"""Markdown in which nothing that comes from a row means anything but itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import quote

SPECIAL = re.compile(r"[\\`*_\[\]<>|~$&!]|(?<=\w):(?=//)|(?<=www)\.|(?<=\w)@", re.IGNORECASE)
"""What Markdown, its tables, mathematics, or an automatic link would take for more than a character."""
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
"""Unicode categories of characters that are not seen, or change how others are."""


def one_line(text: str) -> str:
    """The text without breaks, and with a mark for every character that is not seen."""
    line = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(character) in UNSEEN else character for character in line)


def escape(text: str) -> str:
    """The text in one line, for a cell of a table or the middle of a paragraph."""
    return SPECIAL.sub(r"\\\g<0>", one_line(text))


def link(text: str, *path: str) -> str:
    """A link to a file of the repository, by a relative path; both may come from a row."""
    return f"[{escape(text)}]({'/'.join(part if part == '..' else quote(part, safe='') for part in path)})"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column whose name begins with ``>`` stands to the right. Cells are Markdown already."""
    heads = [name.removeprefix(">") for name in columns]
    rules = ["---:" if name.startswith(">") else "---" for name in columns]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (heads, rules, *rows))
