"""``python -m canonbench``."""

from canonbench.cli.main import main

main()
