"""Per-example values that a row keeps on the Hugging Face hub instead of in the repository."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash
from canonbench.leaderboard.row import ExamplesReference
from canonbench.offline import require_network, to_stderr
from canonbench.runs.hub_errors import one_line_of_the_hub

ADDRESS = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{7,40})/(?P<path>\S+\.parquet)")
"""A commit, not a branch: what stands there must stay what it is."""


def require_address(text: str) -> str:
    """The address itself; UsageError if it is none."""
    if not ADDRESS.fullmatch(text):
        raise UsageError(f"{text!r} is no address of examples: hf://datasets/OWNER/NAME@COMMIT/PATH.parquet")
    return text


def fetch_examples(examples: ExamplesReference, say: Callable[[str], None] = to_stderr) -> Path:
    """The file, in the hub's cache, of the bytes that the row names.

    Raises:
        UsageError: its address is none, or the hub has no such data set or revision.
        CanonbenchError: the hub cannot be reached, or has another file there.
    """
    match = ADDRESS.fullmatch(require_address(examples.file))
    assert match is not None
    require_network(f"{examples.file} from the Hugging Face hub", say)
    with one_line_of_the_hub(match["repo"], "fetching"):
        from huggingface_hub import hf_hub_download  # noqa: PLC0415  (slow to import)

        found = hf_hub_download(match["repo"], match["path"], repo_type="dataset", revision=match["revision"])
    if (digest := file_hash(Path(found))) != examples.sha256:
        raise CanonbenchError(
            f"{examples.file} has the SHA-256 {digest[:12]}..., the row names {examples.sha256[:12]}..."
        )
    return Path(found)
