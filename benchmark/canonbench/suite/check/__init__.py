"""``canonbench data check``: everything a program can verify about a suite. Rules: docs/reference/data-check.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from canonbench.suite.check.findings import Finding, TaskText, read_task
from canonbench.suite.check.general import check_general, check_prose, check_rows_promised, check_whole, general_texts
from canonbench.suite.check.rows import check_rows, check_variety
from canonbench.suite.check.tasks import (
    check_company,
    check_country,
    check_dates,
    check_gender,
    check_stereoset,
    check_temporal,
    check_verb,
)
from canonbench.suite.suite import Suite

__all__ = ["Finding", "check_suite"]

TASK_RULES: dict[str, Callable[[TaskText], Iterator[Finding]]] = {
    "country": check_country,
    "company": check_company,
    "stereoset": check_stereoset,
    "gender": check_gender,
    "temporal": check_temporal,
    "verb": check_verb,
}


def check_suite(suite: Suite, *, mini_sizes: bool) -> list[Finding]:
    """Find all problems of a suite that need no model, sorted by file and line.

    Args:
        suite: the suite to check.
        mini_sizes: also check the promises of the embedded suite: sizes, dates, subjects, general text.
    """
    found: list[Finding] = []
    for name, suite_task in suite.tasks.items():
        text, unreadable = read_task(name, suite_task)
        found += unreadable
        found += check_rows(text)
        for part in text.named("evaluation"):
            found += check_variety(part)
        if name in TASK_RULES:
            found += TASK_RULES[name](text)
        found += check_dates(name, text, missing="error" if mini_sizes else "warning")
        if mini_sizes:
            found += check_rows_promised(name, text)
    for general in general_texts(suite):
        chunks, wrong = check_general(general)
        found += wrong
        if mini_sizes:
            found += check_prose(general, chunks)
    if mini_sizes:
        found += check_whole(suite)
    return sorted(found, key=lambda finding: (str(finding.path), -1 if finding.row is None else finding.row))
