"""The command line: parse arguments, print results, set the exit code. It has no other logic."""

from canonbench.cli.main import main

__all__ = [
    "main",
]
