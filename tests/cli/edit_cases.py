"""Rows of edit runs with numbers chosen by hand, for the tables that people see."""

from __future__ import annotations

from typing import Any

from row_cases import SIX, made_up, mean, task

from canonbench.results.row import Row

LABELS = ("1e-3", "1e-4", "1e-5")
LIMITS = {"1e-3": 1e-3, "1e-4": 1e-4, "1e-5": 1e-5}


def of_league(
    name: str, values: tuple[Any, ...], candidates: tuple[int | None, ...], ratio: float, membership: str
) -> dict[str, Any]:
    """A task in one league: as in SIX, the candidate that each seed took, the mean loss ratio."""
    if not any(candidates):
        n, before, *_, n_clean, clean, _, n_hard, hard, _, _ = values
        values = (n, before, before, None, n_clean, clean, clean, n_hard, hard, hard, None)
        ratio = 1.0
    several = len(candidates) > 1
    seeds = [
        {"seed": seed, "candidate": each, "success": values[2], "ratio": ratio, "membership": membership}
        for seed, each in enumerate(candidates)
    ]
    return {
        **task(name, values, base=True),
        "standard_error": 0.0625 * len(candidates) if several else None,
        "ratio": ratio,
        "ratio_ci": (ratio - 1e-5, ratio + 1e-5) if any(candidates) else None,
        "straddles": membership == "uncertain" if any(candidates) else None,
        "membership": membership,
        "candidate": candidates[0],
        "seeds": seeds,
    }


Taken = dict[str, tuple[tuple[int | None, ...], float, str]]
"""By task: the candidate of each seed, the mean loss ratio, the membership."""


def edited(
    leagues: dict[str, Taken], values: dict[str, tuple[Any, ...]] = SIX, *, split: str = "val", limit: int | None = None
) -> Row:
    """A measured row of an edit run."""
    content = made_up(values, limit=limit).model_dump(mode="json", by_alias=True)
    found = {}
    for label, taken in leagues.items():
        tasks = {name: of_league(name, values[name], *taken[name]) for name in values}
        average = {
            **content["average"],
            **{part: mean(tasks, part) for part in ("success", "clean", "hard_negatives")},
        }
        found[label] = {"tasks": tasks, "average": average}
    nothing = dict.fromkeys(("edited", "ratio", "ratio_ci", "straddles"))
    return Row.model_validate_json(
        Row.model_validate(
            {
                **content,
                "split": split,
                "track": "per-task",
                "method": "lora",
                "hyperparameters": {"lr": 3e-4, "rank": 16},
                "fingerprints": {"model": None, "base": "d" * 64},
                "general": {**content["general"], **nothing, "leagues": dict.fromkeys(leagues)},
                "tasks": None,
                "average": None,
                "leagues": found,
            }
        ).to_json()
    )


def everywhere(candidates: tuple[int | None, ...], ratio: float, membership: str = "in") -> Taken:
    """The same for all six tasks."""
    return dict.fromkeys(SIX, (candidates, ratio, membership))


VAL: dict[str, Taken] = {
    "1e-3": everywhere((10,), 1.00098),
    "1e-4": {**everywhere((3,), 1.0000421), "verb": ((None,), 1.0, "in"), "gender": ((2,), 1.0001, "uncertain")},
    "1e-5": everywhere((None,), 1.0),
}
TEST: dict[str, Taken] = {
    "1e-3": everywhere((10, 10, 9, 10, 8), 1.00098),
    "1e-4": {**everywhere((3, 3, 3, 3, 3), 0.9999), "country": ((3, None, 1, 2, None), 1.00002, "in")},
    "1e-5": everywhere((None,) * 5, 1.0),
}
