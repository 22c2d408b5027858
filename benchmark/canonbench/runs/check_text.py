"""What must not be published with a submission: secrets, and places on somebody's machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from canonbench.files import read_text

DETECTORS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "DiscordBotTokenDetector", "GitHubTokenDetector",
    "GitLabTokenDetector", "JwtTokenDetector", "KeywordDetector", "NpmDetector", "OpenAIDetector",
    "PrivateKeyDetector", "PypiTokenDetector", "SlackDetector",
)  # fmt: skip
"""Of detect-secrets; those that look for random-looking text would report every hash."""
HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")
"""An access token of the Hugging Face hub, which detect-secrets does not know."""
ABSOLUTE = re.compile(r"(?<![\w.:/~<>)\]*-])(?:/(?!usr/|dev/)[\w.-]+/[\w./-]+|[A-Za-z]:\\[\w.\\-]+|~/[\w./-]+)")
"""A path on one machine; /usr/bin/env and /dev/null are everywhere."""


def private_things(path: Path) -> Iterator[tuple[int, str]]:
    """(line from 1, what is there) of everything in a text file that should not be published.

    Raises:
        CanonbenchError: the file cannot be read, or is not UTF-8 text.
    """
    from detect_secrets.core.scan import scan_file  # noqa: PLC0415  (not for --help)
    from detect_secrets.settings import transient_settings  # noqa: PLC0415  (not for --help)

    lines = read_text(path).split("\n")
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        for secret in scan_file(str(path)):
            yield secret.line_number, f"looks like a secret ({secret.type})"
    for number, line in enumerate(lines, start=1):
        if HUB_TOKEN.search(line):
            yield number, "looks like a secret (Hugging Face token)"
        for found in ABSOLUTE.findall(line):
            yield number, f"names a place on one machine, {found}"
