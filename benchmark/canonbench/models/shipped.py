"""The small models that come with the package: a Backpack and a GPT-2 of its size, on one tokenizer."""

from __future__ import annotations

from pathlib import Path

SHIPPED = ("demo-backpack", "demo-gpt2")
"""What ``--model`` calls them."""

PACKAGE = Path(__file__).resolve().parents[1]


def shipped_path(name: str) -> Path:
    """The folder of one of ``SHIPPED``: inside the wheel, or in the checkout that is installed editable."""
    packaged = PACKAGE / "demo_models"
    return (packaged if packaged.is_dir() else PACKAGE.parents[1] / "demo-models") / name
