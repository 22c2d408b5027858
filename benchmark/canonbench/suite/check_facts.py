"""Rules of the tasks about facts and associations: country, company, temporal, stereoset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from canonbench.suite.check_text import PartName, TaskText, stands_in
from canonbench.suite.findings import Finding, Level

DATED: dict[str, tuple[PartName, ...]] = {
    "company": ("canonical", "evaluation", "hard_negatives"),
    "temporal": ("canonical", "evaluation"),  # hard negatives were settled long ago
}
"""By task: the parts whose facts change with time."""


def check_country(text: TaskText) -> Iterator[Finding]:
    """The country is named, its capital asked for; hard negatives ask for another city."""
    yield from _check_named(text)
    yield from _check_same_answer(text)
    yield from _check_other_answer(text)


def check_company(text: TaskText) -> Iterator[Finding]:
    """The company is named, its CEO asked for; hard negatives are about companies and CEOs never taught."""
    yield from _check_named(text)
    yield from _check_same_answer(text)
    yield from _check_other_answer(text)
    yield from _check_untaught(text)
    taught = {row.answer: part for part in text.named("canonical") for row in part.rows}
    for part in text.named("hard_negatives"):
        for row in part.rows:
            if row.answer in taught:
                message = f"{row.answer!r} is a canonical answer of {taught[row.answer].split}"
                yield part.finding("error", "answer_taught", message, row)


def check_temporal(text: TaskText) -> Iterator[Finding]:
    """Hard negatives are about entities never taught."""
    yield from _check_untaught(text)


def check_stereoset(text: TaskText) -> Iterator[Finding]:
    """The group is named before its stereotype; hard negatives define the group without it."""
    yield from _check_same_answer(text)
    for part in text.named("evaluation"):
        for row in part.rows:
            if row.subject is not None and not _group_named(row.subject, row.example.prefix):
                yield part.finding("error", "subject_not_named", f"{row.subject!r} is not named in the prefix", row)
    for part in text.named("hard_negatives"):
        stereotypes = text.canonical_answers(part)
        for row in part.rows:
            for stereotype in stereotypes.get(row.subject or "", ()):
                if stands_in(stereotype, row.example.prefix + row.example.suffix_a):
                    message = f"the definition holds the stereotype {stereotype!r}"
                    yield part.finding("error", "stereotype_in_definition", message, row)


def check_dates(task: str, text: TaskText, missing: Level) -> Iterator[Finding]:
    """``as_of``, the day on which a row was true, is there (``missing`` if not) and is a day."""
    for part in text.parts.values():
        if part.name not in DATED.get(task, ()):
            continue
        undated = [row for row in part.rows if "as_of" not in row.fields]
        if undated:
            message = f"{len(undated)} of {len(part.rows)} rows have no 'as_of' date"
            yield part.finding(missing, "undated", message, undated[0])
        for row in part.rows:
            if "as_of" in row.fields and not is_day(row.fields["as_of"]):
                message = f"'as_of' must be a day like 2025-01-31, not {row.fields['as_of']!r}"
                yield part.finding("error", "not_a_date", message, row)


def is_day(value: Any) -> bool:
    """Whether a value is a string ``YYYY-MM-DD`` that names a day."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _check_named(text: TaskText) -> Iterator[Finding]:
    for part in text.named("evaluation"):
        for row in part.rows:
            if row.subject is not None and not stands_in(row.subject, row.example.prefix):
                yield part.finding("error", "subject_not_named", f"{row.subject!r} is not named in the prefix", row)


def _check_same_answer(text: TaskText) -> Iterator[Finding]:
    """Evaluation asks for what was taught."""
    for part in text.named("evaluation"):
        answers = text.canonical_answers(part)
        for row in part.rows:
            taught = answers.get(row.subject or "")
            if taught and row.answer not in taught:
                message = f"the answer {row.answer!r} is not the canonical one, {_listed(taught)}"
                yield part.finding("error", "answer_not_canonical", message, row)


def _check_other_answer(text: TaskText) -> Iterator[Finding]:
    """A hard negative asks for something else than what was taught of its subject."""
    for part in text.named("hard_negatives"):
        answers = text.canonical_answers(part)
        for row in part.rows:
            if row.answer in answers.get(row.subject or "", ()):
                message = f"{row.answer!r} is what the canonical example of {row.subject!r} teaches"
                yield part.finding("error", "answer_is_canonical", message, row)


def _check_untaught(text: TaskText) -> Iterator[Finding]:
    """What a hard negative is about (``other``, beside the ``subject`` that it guards) is taught in neither split."""
    taught = {row.subject: part.split for part in text.named("canonical") for row in part.rows if row.subject}
    for part in text.named("hard_negatives"):
        for row in part.rows:
            about = str(row.fields.get("other", row.subject))
            if about in taught:
                message = f"{about!r} is taught by a canonical example of {taught[about]}"
                yield part.finding("error", "subject_taught", message, row)


def _group_named(group: str, prefix: str) -> bool:
    """Whether the group's name begins a word of the prefix: plurals count, as in "accountants" or "secretaries"."""
    forms = [group] + ([group[:-1] + "ies"] if group.endswith("y") else [])
    return any(re.search(rf"(?<!\w){re.escape(form)}", prefix, re.IGNORECASE) for form in forms)


def _listed(answers: set[str]) -> str:
    return " or ".join(repr(answer) for answer in sorted(answers))
