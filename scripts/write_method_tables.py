"""Write the tables of settings into docs/reference/methods.md, between its markers.

    python scripts/write_method_tables.py

What the tables say is what the settings classes of the built-in methods say.
"""

from __future__ import annotations

import re
from pathlib import Path

from canonbench.editing.method import BUILT_IN, find_method
from canonbench.editing.settings import SettingDoc, fields_of
from canonbench.editing.training.settings import FinetuneSettings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "methods.md"
SHARED = "shared"
"""The marker of the settings that the finetuning methods have in common."""
TABLE = re.compile(r"(<!-- settings: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The page with its tables as the code has them now."""
    return TABLE.sub(lambda found: f"{found[1]}{table(settings(found[2]))}{found[3]}", page)


def settings(name: str) -> list[SettingDoc]:
    """Of a method, without those that the finetuning methods share; or just these."""
    if name == SHARED:
        return shared()
    cls = find_method(name).settings
    return [each for each in fields_of(cls) if each not in shared()] if cls is not None else []


def shared() -> list[SettingDoc]:
    """The learning rate is each method's own."""
    return [each for each in fields_of(FinetuneSettings) if each.name != "lr"]


def table(rows: list[SettingDoc]) -> str:
    """In Markdown."""
    lines = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", f"`{row.default}`", row.type, row.doc)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def sections(page: str) -> set[str]:
    """The methods that have a table on the page."""
    return {found[2] for found in TABLE.finditer(page)} - {SHARED}


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if missing := BUILT_IN.keys() - sections(text):
        raise SystemExit(f"{PAGE} has no section for {', '.join(sorted(missing))}")
    PAGE.write_text(written(text), encoding="utf-8")
