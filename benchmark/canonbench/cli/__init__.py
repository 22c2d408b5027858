"""The command line: parses, prints, exits. No logic of its own."""

from canonbench.cli.main import main

__all__ = [
    "main",
]
