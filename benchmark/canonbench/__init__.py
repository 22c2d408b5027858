"""canonbench: benchmark harness and leaderboard for model editing with canonical examples.

The public names load on first use, so that importing the package stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from canonbench._version import __version__

if TYPE_CHECKING:
    from canonbench.editing.contract import EditRequest
    from canonbench.leaderboard.row import Row
    from canonbench.likelihood.engine import log_likelihoods
    from canonbench.runs.edit import edit
    from canonbench.runs.evaluate import evaluate
    from canonbench.suite import Example, Suite, Task

_HOMES = {
    "EditRequest": "canonbench.editing.contract",
    "Example": "canonbench.suite",
    "Row": "canonbench.leaderboard.row",
    "Suite": "canonbench.suite",
    "Task": "canonbench.suite",
    "edit": "canonbench.runs.edit",
    "evaluate": "canonbench.runs.evaluate",
    "log_likelihoods": "canonbench.likelihood.engine",
}

__all__ = ["EditRequest", "Example", "Row", "Suite", "Task", "__version__", "edit", "evaluate", "log_likelihoods"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'canonbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
