"""Draw docs/reference/likelihood-trie.svg: four requests, their trie, the row it is packed into, and its mask.

    python scripts/draw_packed_trie.py

The arrays drawn are those that the engine makes of these requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from canonbench.likelihood.packs import Layout, Pack, plan_packs
from canonbench.likelihood.tokens import Request

PICTURE = Path(__file__).parents[1] / "docs" / "reference" / "likelihood-trie.svg"

TEXTS = (
    ("The nurse said that", "he"),
    ("The nurse said that", "she"),
    ("The nurse was", "very late"),
    ("Paris is", "big"),
)
WORDS = sorted({word for pair in TEXTS for text in pair for word in text.split()})
COLOURS = ("#4c78a8", "#e0842b", "#54a24b", "#b279a2")
CELL, GAP, LEFT, TOP = 46, 30, 150, 70
"""Pixels: a token or mask cell, a row of requests, and the margins."""


def requests() -> list[Request]:
    """The texts with a word per token."""
    ids = [[[WORDS.index(word) for word in text.split()] for text in pair] for pair in TEXTS]
    return [Request((*prefix, *continuation), len(prefix)) for prefix, continuation in ids]


def draw() -> str:
    """The picture as SVG text."""
    (pack,) = plan_packs(requests(), 64, Layout("tree", 64, 1e-3))
    width = pack.ids.shape[1]
    below = TOP + len(TEXTS) * GAP + 40
    size = LEFT + width * CELL + 330, below + (width + 2) * CELL + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}"',
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_requests_as_given(),
        *_packed_row(pack, below),
        *_mask(pack, below + 2 * CELL),
        *_targets(pack, below),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _requests_as_given() -> Iterator[str]:
    yield _text(20, 30, "Requests as given: prefix, then the continuation that is scored", weight="bold")
    for number, (prefix, continuation) in enumerate(TEXTS):
        y = TOP + number * GAP
        yield f'<circle cx="30" cy="{y - 5}" r="7" fill="{COLOURS[number]}"/>'
        yield (
            f'<text x="46" y="{y}">{escape(prefix)} '
            f'<tspan font-weight="bold" text-decoration="underline">{escape(continuation)}</tspan></text>'
        )


def _packed_row(pack: Pack, y: int) -> Iterator[str]:
    assert pack.depths is not None
    yield _text(20, y + 28, "packed row")
    yield _text(20, y + CELL + 22, "position")
    for place, (token, depth) in enumerate(zip(pack.ids[0].tolist(), pack.depths[0].tolist(), strict=True)):
        x = LEFT + place * CELL
        yield f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="#eef2f7" stroke="#8899aa"/>'
        yield _text(x + CELL // 2, y + 28, WORDS[token], anchor="middle")
        yield _text(x + CELL // 2, y + CELL + 22, str(depth), anchor="middle")


def _mask(pack: Pack, y: int) -> Iterator[str]:
    for row, visible in enumerate(pack.mask()[0]):
        yield _text(LEFT - 12, y + row * CELL + 28, WORDS[pack.ids[0, row]], anchor="end")
        for column, sees in enumerate(visible.tolist()):
            x, fill = LEFT + column * CELL, "#34587f" if sees else "white"
            yield (
                f'<rect x="{x}" y="{y + row * CELL}" width="{CELL}" height="{CELL}" fill="{fill}" stroke="#c5ced8"/>'
            )
    yield _text(20, y - 6, "sees")


def _targets(pack: Pack, y: int) -> Iterator[str]:
    """Right of the mask: which positions go through the output layer, and what they predict for whom."""
    x = LEFT + pack.ids.shape[1] * CELL + 24
    yield _text(x, y + 28, "through the output layer,", weight="bold")
    yield _text(x, y + 46, "once, and what is read off", weight="bold")
    for number, position in enumerate(pack.rows.tolist()):
        middle = y + 2 * CELL + position * CELL + 28
        shift = 0
        for scored in (pack.row == number).nonzero()[0].tolist():
            colour = COLOURS[pack.request[scored]]
            yield f'<circle cx="{x + 8 + shift}" cy="{middle - 5}" r="7" fill="{colour}"/>'
            yield _text(x + 22 + shift, middle, f"log p({WORDS[pack.target[scored]]})")
            shift += 110


def _text(x: int, y: int, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(), encoding="utf-8")
