"""Suites: tasks, examples and general text, and how to fetch, load and check them."""

from canonbench.suite.check import check_suite
from canonbench.suite.check.findings import Finding, Level
from canonbench.suite.example import Example
from canonbench.suite.fetch import fetch_published
from canonbench.suite.published import published_counts
from canonbench.suite.spec import SplitName
from canonbench.suite.suite import NAMES, General, GeneralPart, Part, Split, Suite, SuiteTask, default_name
from canonbench.suite.tasks import TASKS, Task

__all__ = [
    "NAMES",
    "TASKS",
    "Example",
    "Finding",
    "General",
    "GeneralPart",
    "Level",
    "Part",
    "Split",
    "SplitName",
    "Suite",
    "SuiteTask",
    "Task",
    "check_suite",
    "default_name",
    "fetch_published",
    "published_counts",
]
