"""``python -m canonbench``."""

from __future__ import annotations

from canonbench.cli import main

main()
