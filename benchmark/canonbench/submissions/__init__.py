"""Submissions: put runs on the board, validate and reproduce them, and exchange rows and runs with the hub."""

from canonbench.submissions.hub import Pushed, examples_on_hub, pull, push
from canonbench.submissions.hub_files import Parcel, front_matter, pack, private_findings, push_card
from canonbench.submissions.reproduce import Reproduction, reproduce
from canonbench.submissions.submit import Submitted, submit, withdraw
from canonbench.submissions.validate import validate

__all__ = [
    "Parcel",
    "Pushed",
    "Reproduction",
    "Submitted",
    "examples_on_hub",
    "front_matter",
    "pack",
    "private_findings",
    "pull",
    "push",
    "push_card",
    "reproduce",
    "submit",
    "validate",
    "withdraw",
]
