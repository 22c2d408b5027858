"""The small models that come with the package: a Backpack and a GPT-2 of its size, on one tokenizer."""

from __future__ import annotations

from pathlib import Path

from canonbench.suite.paths import carried

SHIPPED = ("demo-backpack", "demo-gpt2")
"""What ``--model`` calls them."""


def shipped_path(name: str) -> Path:
    """The folder of one of ``SHIPPED``."""
    return carried("demo_models", "demo-models") / name
