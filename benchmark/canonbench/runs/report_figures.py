"""The plots of a run's report: which there are, and what to say with each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from canonbench.leaderboard.compare import Side
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import Average, TaskResult
from canonbench.runs import report_plots
from canonbench.runs.finished import Finished, row_path_of
from canonbench.runs.trajectory import read_candidates

CANDIDATES = "candidates.jsonl"


class Shown(NamedTuple):
    """Results to show as a table: those of a league, or of several that are alike, or a fixed checkpoint's."""

    leagues: tuple[str, ...]
    """None of a fixed checkpoint."""
    tasks: Mapping[str, TaskResult]
    average: Average


class Figure(NamedTuple):
    """A plot, as SVG."""

    title: str
    hint: str
    picture: Markup


def leagues_of(row: Row) -> dict[str, float]:
    """Label to ε, of those that the row knows of."""
    known = row.leagues if row.leagues is not None else row.general.leagues if row.general is not None else {}
    return {label: float(label) for label in known}


def figures(
    run: Finished, results: Sequence[Shown], chosen: str | None, scored: Mapping[str, Side]
) -> Iterator[Figure]:
    """All that the run has something to draw for; none without a base.

    Args:
        run: the run.
        results: of every league, the widest first.
        chosen: the league that single-league plots are of; None for a fixed checkpoint.
        scored: what that league's models scored, by task.

    Raises:
        CanonbenchError: a file of the run is damaged, or the package that draws is not installed.
    """
    row, leagues = run.row, leagues_of(run.row)
    if row.base is None:
        return
    listed = row_path_of(run.path).with_name(CANDIDATES)
    if chosen is not None and listed.is_file():
        base = {name: task.success.base or 0.0 for name, task in run.results(chosen).items()}
        picture = report_plots.trajectory(read_candidates(listed), base, leagues)
        yield Figure(
            "Trajectory",
            "From the unedited model (hollow), candidate by candidate; what was chosen has a ring and its number. "
            "Ticks on the axis: in no league, so not asked the task; far outside, at the edge.",
            Markup(picture),
        )
    hard = report_plots.hard_negatives(scored)
    if hard is not None:
        hint = f"Each hard negative before and after{_in(chosen)}; above the line the edit made it less likely."
        yield Figure("Hard negatives", hint, Markup(hard))
    named = {", ".join(shown.leagues): shown.tasks for shown in results}
    yield Figure("Success by task", "Edited − base, with its 95 % interval.", Markup(report_plots.success(named)))
    ratios = _ratios(row, run.results(chosen), leagues)
    if ratios is not None:
        yield Figure("Loss ratio", f"With its 95 % interval over chunks{_in(chosen)}.", Markup(ratios))


def _ratios(row: Row, tasks: Mapping[str, TaskResult], leagues: Mapping[str, float]) -> str | None:
    if not leagues:
        return None
    general = row.general
    if row.leagues is not None or general is None:
        return report_plots.ratios(tasks, leagues)
    if general.ratio is None:
        return None
    value = {"task": "all", "excess": general.ratio - 1, "said": f"loss ratio − 1 is {general.ratio - 1:+.2e}"}
    ci = general.ratio_ci
    ends = {} if ci is None else {"low": ci[0] - 1, "high": ci[1] - 1}
    return report_plots.ratio_intervals([value | ends], leagues)


def _in(league: str | None) -> str:
    return f" in league {league}" if league else ""
