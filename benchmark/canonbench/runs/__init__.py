"""Top-level runs: evaluate, edit, compare, merge and export, with run folders, resuming and progress.

The only package that combines all the others.
"""

from canonbench.runs.candidates import Chosen
from canonbench.runs.compare import Compared, compare
from canonbench.runs.edit import edit
from canonbench.runs.edit_run import edit_request
from canonbench.runs.evaluate import evaluate
from canonbench.runs.export import export
from canonbench.runs.folder import IDENTITY, RunFolder
from canonbench.runs.measure import cost
from canonbench.runs.merge import merge_edits, read_merged
from canonbench.runs.merge_parts import record_of
from canonbench.runs.prepare import free, model_handles
from canonbench.runs.progress import Progress, terminal_progress
from canonbench.runs.requests import Measured, RequestBatch, TaskRows, question
from canonbench.runs.senses import sense_words
from canonbench.runs.spec import EvalSpec, announce, require_batch_tokens, resolve

__all__ = [
    "IDENTITY",
    "Chosen",
    "Compared",
    "EvalSpec",
    "Measured",
    "Progress",
    "RequestBatch",
    "RunFolder",
    "TaskRows",
    "announce",
    "compare",
    "cost",
    "edit",
    "edit_request",
    "evaluate",
    "export",
    "free",
    "merge_edits",
    "model_handles",
    "question",
    "read_merged",
    "record_of",
    "require_batch_tokens",
    "resolve",
    "sense_words",
    "terminal_progress",
]
