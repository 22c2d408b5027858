"""Rules of the six tasks.

Country, company, temporal and stereoset are about facts and associations; gender (he or she) and verb (agreement) are
about grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

from canonbench.suite.check.findings import Finding, Level, Part, PartName, Row, TaskText, any_of, stands_in

DATED: dict[str, tuple[PartName, ...]] = {
    "company": ("canonical", "evaluation", "hard_negatives"),
    "temporal": ("canonical", "evaluation"),  # hard negatives were settled long ago
}
"""By task, the parts whose facts change with time."""


def check_country(text: TaskText) -> Iterator[Finding]:
    """Check that the prefix names the country and the answer is its capital; hard negatives have another city."""
    yield from _check_named(text)
    yield from _check_same_answer(text)
    yield from _check_other_answer(text)


def check_company(text: TaskText) -> Iterator[Finding]:
    """Check that the prefix names the company and the answer is its CEO.

    Hard negatives must be about companies and CEOs that no canonical example teaches.
    """
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
    """Check that hard negatives are about entities that no canonical example teaches."""
    yield from _check_untaught(text)


def check_stereoset(text: TaskText) -> Iterator[Finding]:
    """Check that the prefix names the group and that hard negatives define the group without the stereotype."""
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
    """Check that rows have ``as_of``, the day on which they were true, as a date; ``missing``: the level if not."""
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
    """Whether a value is a valid date string ``YYYY-MM-DD``."""
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
    """Check that evaluation answers are canonical answers of their subject."""
    for part in text.named("evaluation"):
        answers = text.canonical_answers(part)
        for row in part.rows:
            taught = answers.get(row.subject or "")
            if taught and row.answer not in taught:
                message = f"the answer {row.answer!r} is not the canonical one, {_listed(taught)}"
                yield part.finding("error", "answer_not_canonical", message, row)


def _check_other_answer(text: TaskText) -> Iterator[Finding]:
    """Check that the answer of a hard negative is not a canonical answer of its subject."""
    for part in text.named("hard_negatives"):
        answers = text.canonical_answers(part)
        for row in part.rows:
            if row.answer in answers.get(row.subject or "", ()):
                message = f"{row.answer!r} is what the canonical example of {row.subject!r} teaches"
                yield part.finding("error", "answer_is_canonical", message, row)


def _check_untaught(text: TaskText) -> Iterator[Finding]:
    """Check that what a hard negative is about (``other``, else its subject) is not taught in either split."""
    taught = {row.subject: part.split for part in text.named("canonical") for row in part.rows if row.subject}
    for part in text.named("hard_negatives"):
        for row in part.rows:
            about = str(row.fields.get("other", row.subject))
            if about in taught:
                message = f"{about!r} is taught by a canonical example of {taught[about]}"
                yield part.finding("error", "subject_taught", message, row)


def _group_named(group: str, prefix: str) -> bool:
    """Whether a word of the prefix begins with the group's name, so plurals such as "secretaries" count."""
    forms = [group] + ([group[:-1] + "ies"] if group.endswith("y") else [])
    return any(re.search(rf"(?<!\w){re.escape(form)}", prefix, re.IGNORECASE) for form in forms)


def _listed(answers: set[str]) -> str:
    return " or ".join(repr(answer) for answer in sorted(answers))


_HE = (
    "he him his himself man men boy boys gentleman gentlemen lad sir mr father dad brother son uncle husband "
    "grandfather nephew brother-in-law son-in-law father-in-law boyfriend"
)
_SHE = (
    "she her hers herself woman women girl girls lady ladies madam mrs ms miss mother mum mom sister daughter aunt "
    "wife grandmother niece sister-in-law daughter-in-law mother-in-law girlfriend"
)
GENDERED = {"he": any_of(_HE.split()), "she": any_of(_SHE.split())}
"""Words that reveal a person's pronoun."""
_PAST_TOO = (
    "beat bet bid bound broadcast burst bust cast cost cut fell felt fit forecast found ground hit hurt input knit lay "
    "left let miscast offset output put quit read recast rent reset rid saw set shed shut slit split spread sublet "
    "thrust typecast undercut upset wed wet wound"
)
PAST_TOO = frozenset(_PAST_TOO.split())
"""Plural forms that are also a past tense, of the same verb (shut) or another (wind, wound): "the pilot shut the door"
is not wrong."""
BALANCE = (0.4, 0.6)
"""Allowed share of one of two answers; outside it, always giving the more common answer pays off."""
BALANCE_FROM = 10
"""Fewest rows for which the share is checked."""
OTHER_ROLES = 0.5
"""Smallest share of verb hard negatives that contain a taught form."""
_IRREGULAR = {"are": "is", "were": "was", "have": "has"}


def check_gender(text: TaskText) -> Iterator[Finding]:
    """Check that evaluation prefixes leave the pronoun open and hard negatives determine it, about half each way."""
    for part in text.parts.values():
        if part.name == "hard_negatives":
            yield from _check_settled(part)
            yield from _check_balance(part, [row.answer == "he" for row in part.rows], "'he'")
            continue
        for row in part.rows:
            if sorted(row.answers) != ["he", "she"]:
                yield part.finding("error", "not_he_and_she", "the two suffixes are not ' he' and ' she'", row)
            for pattern in GENDERED.values() if part.name == "evaluation" else ():
                if match := pattern.search(row.example.prefix):
                    yield part.finding("error", "gender_given", f"{match[0]!r} gives the pronoun away", row)


def _check_settled(part: Part) -> Iterator[Finding]:
    for row in part.rows:
        if row.answer not in GENDERED:
            yield part.finding("error", "not_he_or_she", "the suffix is neither ' he' nor ' she'", row)
        elif not GENDERED[row.answer].search(row.example.prefix):
            yield part.finding("error", "gender_not_given", f"no word of the prefix calls for {row.answer!r}", row)


class _Forms(NamedTuple):
    right: str
    wrong: str

    @property
    def singular_right(self) -> bool:
        return self.right in third_person(self.wrong)


def check_verb(text: TaskText) -> Iterator[Finding]:
    """Check that right and wrong forms differ only by agreement; hard negatives use the same words in other roles."""
    for part in text.parts.values():
        if part.name == "hard_negatives":
            yield from _check_other_roles(text, part)
            continue
        for row in part.rows:
            yield from _check_agreement(part, row)
        singular = [forms.singular_right for row in part.rows if (forms := _forms(row))]
        yield from _check_balance(part, singular, "a singular verb")


def _check_agreement(part: Part, row: Row) -> Iterator[Finding]:
    forms = _forms(row)
    if forms is None or row.example.suffix_b is None:
        return
    if row.example.suffix_a.split()[1:] != row.example.suffix_b.split()[1:]:
        yield part.finding("error", "more_than_the_verb", "the two suffixes differ beyond their first word", row)
    if not (forms.singular_right or forms.wrong in third_person(forms.right)):
        message = f"{forms.right!r} and {forms.wrong!r} are not the singular and plural of one verb"
        yield part.finding("error", "not_agreement", message, row)
    if forms.wrong in PAST_TOO:
        message = f"the wrong form {forms.wrong!r} is a past tense too, which is not wrong here"
        yield part.finding("error", "wrong_form_is_past", message, row)


def _forms(row: Row) -> _Forms | None:
    firsts = [suffix.split()[0].rstrip(".,;:!?").lower() for suffix in row.example[1:] if suffix and suffix.split()]
    return _Forms(*firsts) if len(firsts) == 2 else None


def third_person(plural: str) -> set[str]:
    """Return the possible spellings of a present-tense verb's third person singular: carry, carries; do, does."""
    stem = plural.removesuffix("n't")
    if stem in _IRREGULAR:
        singular = {_IRREGULAR[stem]}
    elif stem.endswith("y") and not stem.endswith(("ay", "ey", "oy", "uy")):
        singular = {stem[:-1] + "ies"}
    elif stem.endswith(("s", "x", "z", "ch", "sh")):
        singular = {stem + "es", stem + stem[-1] + "es"}  # quiz, quizzes
    elif stem.endswith("o"):
        singular = {stem + "es", stem + "s"}
    else:
        singular = {stem + "s"}
    return {form + plural[len(stem) :] for form in singular}


def _check_other_roles(text: TaskText, part: Part) -> Iterator[Finding]:
    forms_of: dict[str | None, set[str]] = {}
    for row in text.beside(part, "canonical").rows:
        forms_of.setdefault(row.subject, set()).update(_forms(row) or ())
    every = set().union(*forms_of.values())
    there = [
        any(stands_in(form, row.example.prefix + row.example.suffix_a) for form in forms_of.get(row.subject, every))
        for row in part.rows
    ]
    if part.rows and sum(there) < OTHER_ROLES * len(there):
        message = f"only {sum(there)} of {len(there)} rows hold a form of a taught verb"
        yield part.finding("error", "other_words", message)


def _check_balance(part: Part, either: list[bool], what: str) -> Iterator[Finding]:
    least, most = BALANCE
    if len(either) >= BALANCE_FROM and not least <= sum(either) / len(either) <= most:
        message = f"{sum(either)} of {len(either)} answers are {what}, not {least:.0%} to {most:.0%}"
        yield part.finding("error", "unbalanced", message)
