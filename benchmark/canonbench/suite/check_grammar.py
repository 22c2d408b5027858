"""Rules of the tasks about words of grammar: gender (he or she) and verb (agreement)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from canonbench.suite.check_text import Part, Row, TaskText, any_of, stands_in
from canonbench.suite.findings import Finding

_HE = (
    "he him his himself man men boy boys gentleman gentlemen lad sir mr father dad brother son uncle husband "
    "grandfather nephew brother-in-law son-in-law father-in-law boyfriend"
)
_SHE = (
    "she her hers herself woman women girl girls lady ladies madam mrs ms miss mother mum mom sister daughter aunt "
    "wife grandmother niece sister-in-law daughter-in-law mother-in-law girlfriend"
)
GENDERED = {"he": any_of(_HE.split()), "she": any_of(_SHE.split())}
"""Words that give a person's pronoun away."""

_PAST_TOO = (
    "beat bet bid bound broadcast burst bust cast cost cut fell felt fit forecast found ground hit hurt input knit lay "
    "left let miscast offset output put quit read recast rent reset rid saw set shed shut slit split spread sublet "
    "thrust typecast undercut upset wed wet wound"
)
PAST_TOO = frozenset(_PAST_TOO.split())
"""Plural forms that are a past tense too, of the same verb (shut) or another (wind, wound): "the pilot shut the door"
is not wrong."""

BALANCE = (0.4, 0.6)
"""Allowed share of one of two answers: beyond it, always giving the commoner one begins to pay."""
BALANCE_FROM = 10
"""Rows from which on a share says anything."""
OTHER_ROLES = 0.5
"""Least share of verb hard negatives in which a taught form stands."""

_IRREGULAR = {"are": "is", "were": "was", "have": "has"}


def check_gender(text: TaskText) -> Iterator[Finding]:
    """Evaluation leaves the pronoun open, hard negatives settle it, half of them each way."""
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
    """Right and wrong differ by agreement alone; hard negatives use the same words in other roles."""
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
    """The third person singular of a present-tense verb, in the spellings in use: carry, carries; do, does."""
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
