"""The picture in the docs shows what the engine does now."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_packed_trie.py"


def test_the_committed_picture_is_the_one_that_the_script_draws() -> None:
    script = runpy.run_path(str(SCRIPT))
    drawn = script["draw"]()
    ElementTree.fromstring(drawn)  # well-formed
    assert script["PICTURE"].read_text(encoding="utf-8") == drawn, "run scripts/draw_packed_trie.py"
