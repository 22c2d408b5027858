"""Turn the papers' results into rows: the 558 released by Hewitt et al. (2024), and the workshop tables (2023).

The functions are pure: they take the content of ``datasets/reported`` and return rows. ``docs/results/published.md``
discusses how reliable these results are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from canonbench.results.reported import Cell, Origin, Reported, reported_row
from canonbench.results.row import Flag, Row
from canonbench.scoring import LEAGUES

PAPER = "Hewitt et al. 2024 (arXiv 2402.06155)"
WORKSHOP = "Hewitt et al. 2023 (R0-FoMo workshop at NeurIPS)"
DATA_VERSION = "15a1e7b0c726"
"""The commit whose test files the released results were measured on."""
WORKSHOP_VERSION = "workshop-2023"
"""Data version of the workshop's rows. The paper does not name its files, so its rows form separate groups."""
BROKEN_BASES = ("EleutherAI/pythia-70m", "EleutherAI/pythia-160m")
BROKEN = Flag(
    name="unreliable",
    reason="edits a base whose loss is broken in bfloat16: the unedited Pythia-70m then has 5.33 nats per token on "
    "general text instead of 3.65",
)
REMARKS = {
    "memit-prefix": "Its hyperparameters were selected on the wrong loss at val.",
    "backpack-sense-ensemble": "GPT-J in bfloat16 and the Backpacks in float32.",
}
Task = Literal["country", "company", "stereoset", "gender", "temporal", "verb"]


class Result(BaseModel):
    """One released result, a line of ``hewitt2024-results.jsonl``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """File of the release, after ``hewitt2024:``."""
    model: str
    """Hub id of the model."""
    method: str
    """Name of the method in the release."""
    task: Task
    """One of the six tasks."""
    league: float
    """ε of the league."""
    initial_success: float | None
    """Success before the edit, share of rows; null if no edit stayed in the league."""
    success: float | None
    """Success after the edit, share of rows, mean over runs; null if no edit stayed in the league."""
    delta_points: float | None
    """Difference of the two in points, rounded."""
    se_points: float | None
    """Standard error of the mean over runs, points."""
    dtype: str
    """Dtype of the edited model, and of the small models used with it."""
    n_seeds: str | None = None
    """Number of runs, and the source of that number."""
    n_in_league: int | None = None
    """Number of runs in the mean, if the release states it."""
    n_runs: int | None = None
    """Number of runs; 0 if no setting was in the league on val, so that nothing was run on test."""


class WorkshopTask(BaseModel):
    """One line of a table of the workshop paper."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task | Literal["average"]
    """One of the six tasks, or their average as printed."""
    initial: float
    """Value before the edit."""
    delta: dict[str, dict[str, float]]
    """Change by league and method."""


class WorkshopTables(BaseModel):
    """Content of ``hewitt2024-workshop-tables.json``: tables by model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """The tables' place in the paper."""
    success_percent: dict[str, list[WorkshopTask]]
    """Success in percent, Δ in points."""
    hard_negative_nats: dict[str, list[WorkshopTask]]
    """Mean −log p of the hard negatives, nats."""


def read_results(lines: Iterable[str]) -> list[Result]:
    """Parse the released results, one per line of JSON; pydantic's ValidationError if a line is not a result."""
    return [Result.model_validate_json(line) for line in lines if line.strip()]


def released_rows(results: Iterable[Result]) -> list[Row]:
    """Make one row per model and method, in order of first occurrence."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        groups.setdefault((each.model, each.method), []).append(each)
    return [_released_row(group) for group in groups.values()]


def workshop_rows(tables: WorkshopTables) -> list[Row]:
    """Make one row per model and method of the workshop paper."""
    return [
        _workshop_row(tables, model, method)
        for model, (first, *_) in tables.success_percent.items()
        for method in first.delta["1e-3"]
    ]


def _released_row(results: list[Result]) -> Row:
    first = results[0]
    remarks = [_runs(results), _fewer(results), _missing(results), REMARKS.get(first.method)]
    broken = first.model in BROKEN_BASES and first.method in {"full", "lora"}
    origin = Origin(
        source=f"{PAPER}, released file {first.source.removeprefix('hewitt2024:').replace('+', ' and ')}",
        note=" ".join(remark for remark in remarks if remark),
        flags=(BROKEN,) if broken else (),
        suite_version=DATA_VERSION,
        model=first.model,
        method=first.method,
        dtype="float16" if first.dtype == "float16" else "bfloat16",
    )
    bases = {each.task: each.initial_success for each in results if each.initial_success is not None}
    by_place = {(each.league, each.task): each for each in results}
    return reported_row(
        origin,
        {
            label: {task: _cell(by_place[epsilon, task], base) for task, base in bases.items()}
            for label, epsilon in LEAGUES.items()
        },
    )


def _cell(result: Result, base: float) -> Cell:
    """Convert one result; if no edit stayed in the league, the unedited model counts, as in all rows
    (docs/reference/protocol.md#5-selection)."""
    if result.success is None or result.initial_success is None:
        return Cell(Reported(100 * base, 100 * base), standard_error=0.0, unedited=True)
    error = None if result.n_in_league == 1 else result.se_points
    return Cell(Reported(100 * result.initial_success, 100 * result.success), error)


def _runs(results: list[Result]) -> str:
    first = results[0]
    if first.n_seeds is not None:
        count, _, said = first.n_seeds.partition(" ")
        return f"Means over {count} runs, says the release's {said.strip('()')}."
    return "Means over the runs in the league." if first.n_runs is not None else "The number of runs is not said."


def _fewer(results: list[Result]) -> str | None:
    fewer = [each for each in results if each.n_in_league and each.n_in_league != each.n_runs]
    places = _places(fewer, lambda each: f"{each.task} {each.n_in_league} of {each.n_runs}")
    return f"Fewer than all were: {places}." if fewer else None


def _missing(results: list[Result]) -> str | None:
    missing = [each for each in results if each.success is None]
    places = _places(missing, lambda each: each.task)
    return f"No edit in the league, so the unedited model counts (Δ = 0): {places}." if missing else None


def _places(results: list[Result], say: Callable[[Result], str]) -> str:
    """List tasks by league, as in "at 1e-4 gender; at 1e-5 company, stereoset"."""
    by_league = {label: [each for each in results if each.league == epsilon] for label, epsilon in LEAGUES.items()}
    return "; ".join(f"at {label} {', '.join(map(say, found))}" for label, found in by_league.items() if found)


def _workshop_row(tables: WorkshopTables, model: str, method: str) -> Row:
    name = "backpack-sense-ensemble" if method == "backpack-ensemble" else method
    remarks = [
        "Printed to one decimal, without standard errors or dtype; the averages are means of the printed numbers.",
        REMARKS.get(name),
        "The paper of 2024 reports this model again, from other runs." if model == "EleutherAI/gpt-j-6b" else None,
    ]
    origin = Origin(
        source=f"{WORKSHOP}, Tables 2, 3, 5 and 6",
        note=" ".join(remark for remark in remarks if remark),
        flags=(),
        suite_version=WORKSHOP_VERSION,
        model=model,
        method=name,
        dtype="bfloat16" if model == "EleutherAI/gpt-j-6b" else "float32",
    )
    success, hard = tables.success_percent[model], {each.task: each for each in tables.hard_negative_nats[model]}
    return reported_row(
        origin,
        {
            label: {
                each.task: Cell(_printed(each, label, method), None, _printed(hard[each.task], label, method))
                for each in success
                if each.task != "average"
            }
            for label in LEAGUES
        },
    )


def _printed(line: WorkshopTask, label: str, method: str) -> Reported:
    return Reported(line.initial, line.initial + line.delta[label][method])
