"""An edit run of two tasks and two seeds that is small enough to check by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LN = math.log
Rows = list[dict[str, Any]]

COUNTRY = (0.10, 0.30, 0.10, 0.25)  # the base's probability of each capital
GENDER = ((-1.0, -1.2), (-1.0, -3.0))  # the base's log p of he and of she
TEXT = (30.0, 90.0)  # nats that the base loses on chunks of 10 and 30 tokens


def block(
    task: str, part: str, taken: tuple[int, int], subjects: list[str], before: list[Any], after: list[Any]
) -> Rows:
    """Rows of one candidate; ``before`` and ``after`` are log-probabilities, or pairs of them."""
    rows = []
    for index, (subject, base, edited) in enumerate(zip(subjects, before, after, strict=True)):
        row = {"task": task, "part": part, "index": index, "subject": subject, "seed": taken[0], "candidate": taken[1]}
        row |= {"clean": (task, part, index) != ("country", "evaluation", 2), "n_tokens_a": 1}
        row |= {"base_again_log_p_a": math.nan}
        for model, value in (("base", base), ("edited", edited)):
            a, b = value if isinstance(value, tuple) else (value, math.nan)
            loss = -a if math.isnan(b) else abs(a - b)
            row |= {f"{model}_log_p_a": a, f"{model}_log_p_b": b, f"{model}_loss": loss}
        rows.append(row)
    return rows


def country(taken: tuple[int, int], p: tuple[float, ...], hard: tuple[float, float], text: tuple[float, float]) -> Rows:
    """One candidate of country: probabilities of the capitals, losses on hard negatives and on general text."""
    subjects = ["France", "France", "Peru", "Chad"]
    return [
        *block("country", "evaluation", taken, subjects, [LN(x) for x in COUNTRY], [LN(x) for x in p]),
        *block("country", "hard_negatives", taken, ["France", "Peru"], [-2.0, -3.0], [-x for x in hard]),
        *general("country", taken, text),
    ]


def gender(
    taken: tuple[int, int], pairs: tuple[Any, ...], hard: tuple[float, float], text: tuple[float, float]
) -> Rows:
    """One candidate of gender: log-probabilities of he and she, and losses as for country."""
    subjects = ["nurse", "janitor"]
    return [
        *block("gender", "evaluation", taken, subjects, list(GENDER), list(pairs)),
        *block("gender", "hard_negatives", taken, subjects, [-0.5, -1.5], [-x for x in hard]),
        *general("gender", taken, text),
    ]


def general(task: str, taken: tuple[int, int], text: tuple[float, float]) -> Rows:
    """Two chunks, the first of which the base was scored on twice."""
    rows = block(task, "general", taken, ["", ""], [-x for x in TEXT], [-x for x in text])
    rows[0] |= {"n_tokens_a": 10, "base_again_log_p_a": -30.00003}
    rows[1] |= {"n_tokens_a": 30}
    return rows


def columns(rows: Rows) -> dict[str, Any]:
    """The table that the rows make."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def edit_rows() -> Rows:
    """Candidate 2 of seed 0 and candidate 1 of seed 1 for country, candidate 1 of seed 0 for gender, and the base."""
    return [
        *country((0, 0), COUNTRY, (2.0, 3.0), TEXT),
        *country((0, 2), (0.50, 0.40, 0.10, 0.30), (2.5, 3.5), (30.03, 90.03)),
        *country((1, 1), (0.10, 0.10, 0.30, 0.25), (2.0, 4.0), (30.06, 90.06)),
        *gender((0, 0), GENDER, (0.5, 1.5), TEXT),
        *gender((0, 1), ((-1.0, -1.1), (-1.0, -1.3)), (0.6, 1.6), (30.003, 90.003)),
    ]


CHOICES = {
    "1e-3": {"country": {0: 2, 1: 1}, "gender": {0: 1, 1: 0}},
    "1e-4": {"country": {0: 0, 1: 0}, "gender": {0: 1, 1: 0}},
}
REPORTED = {"1e-3": {"country": 3, "gender": 1}, "1e-4": {"country": 0, "gender": 1}}
"""Chosen on val; no seed of country took it, because only earlier ones were in the league."""
