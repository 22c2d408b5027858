"""What is asked, and where its files come from."""

from canonbench.suite.example import Example
from canonbench.suite.suite import General, Split, Suite, SuiteTask
from canonbench.suite.tasks import TASKS, Task

__all__ = ["TASKS", "Example", "General", "Split", "Suite", "SuiteTask", "Task"]
