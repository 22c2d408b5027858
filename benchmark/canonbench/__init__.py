"""canonbench: benchmark harness and leaderboard for model editing with canonical examples.

The public names load on first use, so that importing the package stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from canonbench._version import __version__

if TYPE_CHECKING:
    from canonbench.editing import EditRequest
    from canonbench.likelihood import log_likelihoods
    from canonbench.results import Row
    from canonbench.results.frames import load_rows
    from canonbench.runs.edit import edit
    from canonbench.runs.evaluate import evaluate
    from canonbench.suite import Example, Suite, Task

__all__ = [
    "EditRequest",
    "Example",
    "Row",
    "Suite",
    "Task",
    "__version__",
    "edit",
    "evaluate",
    "load_rows",
    "log_likelihoods",
]

_HOMES = {
    "EditRequest": "canonbench.editing",
    "Example": "canonbench.suite",
    "Row": "canonbench.results",
    "Suite": "canonbench.suite",
    "Task": "canonbench.suite",
    "edit": "canonbench.runs",
    "evaluate": "canonbench.runs",
    "load_rows": "canonbench.results.frames",
    "log_likelihoods": "canonbench.likelihood",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'canonbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
