"""Check one folder under ``submissions/``: its description, its files, and that its code can be imported.

Files must not contain secrets or absolute paths of somebody's machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

from canonbench.files import read_text
from canonbench.results import FILE, LIMIT, NAME, TODO, Findings, Submission, read_submission, unwritten
from canonbench.submissions.examine_code import Examined, examine

DETECTORS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "DiscordBotTokenDetector", "GitHubTokenDetector",
    "GitLabTokenDetector", "JwtTokenDetector", "KeywordDetector", "NpmDetector", "OpenAIDetector",
    "PrivateKeyDetector", "PypiTokenDetector", "SlackDetector",
)  # fmt: skip
"""Detectors of detect-secrets; those for high-entropy text are left out, as they would report every hash."""
HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")
"""An access token of the Hugging Face hub, which detect-secrets does not know."""
ABSOLUTE = re.compile(r"(?<![\w.:/~<>)\]*-])(?:/(?!usr/|dev/)[\w.-]+/[\w./-]+|[A-Za-z]:\\[\w.\\-]+|~/[\w./-]+)")
"""An absolute path; /usr and /dev are allowed, as /usr/bin/env and /dev/null exist everywhere."""


def private_things(path: Path) -> Iterator[tuple[int, str]]:
    """List everything in a text file that should not be published, as (line from 1, description).

    Raises:
        CanonbenchError: the file cannot be read, or is not UTF-8 text.
    """

    lines = read_text(path).split("\n")
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        for secret in scan_file(str(path)):
            yield secret.line_number, f"looks like a secret ({secret.type})"
    for number, line in enumerate(lines, start=1):
        if HUB_TOKEN.search(line):
            yield number, "looks like a secret (Hugging Face token)"
        for found in ABSOLUTE.findall(line):
            yield number, f"names a place on one machine, {found}"


README = "README.md"
CODE = "method.py"
TEXTS = (".yaml", ".md", ".py", ".txt", ".bib")
"""Suffixes of the files in a submission, besides its examples; weights and notebooks do not belong here."""
EXAMPLES = "examples-*.parquet"
TEXT_LIMIT = 2**18
"""Maximum bytes of one text file."""


def check_folder(folder: Path, place: str, findings: Findings) -> Submission | None:
    """Check the submission in ``folder``, called ``place`` in findings; None if its description cannot be used."""
    if not NAME.fullmatch(folder.name):
        findings.error(place, "a submission's name is made of lower-case letters, digits and single hyphens")
    _check_files(folder, place, findings)
    for key in unwritten(folder):
        findings.todo(f"{place}/{FILE}", f"{key}: still to be filled in")
    readme = folder / README
    if not readme.is_file():
        findings.error(f"{place}/{README}", "missing: say what the method does and how its rows were made")
    elif TODO in readme.read_text(encoding="utf-8", errors="replace"):
        findings.todo(f"{place}/{README}", f"still has a {TODO}")
    with findings.at(f"{place}/{FILE}"):
        submission = read_submission(folder, drafts=True)
        if submission.method is None and (folder / CODE).is_file():
            findings.error(f"{place}/{FILE}", f"method: missing, though there is a {CODE}; give 'method: {CODE}:edit'")
        return submission
    return None


def check_code(
    folder: Path, place: str, submission: Submission, asked: Sequence[Mapping[str, Any]], findings: Findings
) -> Examined | None:
    """Check that the method can be imported and takes its hyperparameters. This runs the submission's code.

    Args:
        folder: folder of the submission.
        place: name of the folder in findings.
        submission: its description.
        asked: hyperparameters of its rows, which are tried as well.
        findings: receives the findings.

    Returns:
        The outcome; None for a submission without a method.
    """
    if submission.method is None:
        return None
    examined = examine(folder, submission.method, asked)
    if examined.problem is not None:
        findings.error(f"{place}/{FILE}", f"method {submission.method}: {examined.problem}")
    return examined


def _check_files(folder: Path, place: str, findings: Findings) -> None:
    for path in sorted(folder.rglob("*")):
        where = f"{place}/{path.relative_to(folder).as_posix()}"
        if path.is_symlink():
            findings.error(where, "is a link; put the file itself here")
        elif path.is_dir() or "__pycache__" in path.parts:
            continue
        elif path.match(EXAMPLES):
            if path.stat().st_size > LIMIT:
                findings.error(
                    where, f"larger than {LIMIT >> 20} MiB; put it on the hub and name its address in the row"
                )
        elif path.suffix not in TEXTS:
            findings.error(where, f"only {', '.join(TEXTS)} and {EXAMPLES} belong here")
        elif path.stat().st_size > TEXT_LIMIT:
            findings.error(where, f"larger than {TEXT_LIMIT >> 10} KiB")
        else:
            with findings.at(where):
                for line, what in private_things(path):
                    findings.error(f"{where}:{line}", what)
