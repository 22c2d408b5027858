"""Report a run as one web page: its numbers by task and league, plots with captions, and the flipped rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from canonbench.board import report_plots
from canonbench.board.document import asset, document
from canonbench.board.texts import (
    SuiteTexts,
    embedded_texts,
    evaluation_texts,
    group_facts,
    hyperparameters,
    row_facts,
    short_name,
    signed,
)
from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.files import require_output, write_whole
from canonbench.results import (
    Average,
    Finished,
    Flip,
    LeagueTask,
    Row,
    Side,
    TaskResult,
    flips,
    read_candidates,
    read_finished,
    row_path_of,
    said,
    sides,
)
from canonbench.suite import Example, Suite

FLIPS = 10
"""Default number of fixed rows, and of broken rows, shown per task."""
PUBLISHED = "published"


class FlippedTask(NamedTuple):
    """The rows of one task that an edit fixed and broke."""

    task: str
    n: tuple[int, int]
    """Numbers of fixed and broken rows."""
    rows: tuple[tuple[str, Flip, str, str, Example | None], ...]
    """Rows to show: kind, row, the base's and the edited model's results, text."""

    @property
    def left(self) -> int:
        """Number of flipped rows not shown."""
        return sum(self.n) - len(self.rows)


def write_report(path: str | Path, out: Path, **how: Any) -> None:
    """Write ``report(path, **how)`` to exactly ``out``, atomically; raises as ``report``, or if writing fails."""
    require_output(out, "--out")
    write_whole(out, report(path, **how))


def report(
    path: str | Path, *, league: str | None = None, suite: str | Path | None = None, n_flips: int = FLIPS
) -> str:
    """Render the page as HTML that needs no other file and no network. The same run gives the same bytes.

    Args:
        path: a run folder, or a row file with examples.parquet beside it.
        league: for an edit run, the league whose models are used in the plots of ratios and hard negatives and in the
            flipped rows; None for the tightest in which anything was edited.
        suite: a folder with the texts, if the run used your own suite. The embedded suite's texts need no folder;
            those of the published suite never enter a page.
        n_flips: maximum number of fixed rows, and of broken rows, to show per task.

    Raises:
        UsageError: the run does not exist, the league is unknown, or the texts do not belong to the run.
        CanonbenchError: the run is not finished or damaged, or a library that draws is not installed.
    """
    run = read_finished(path)
    chosen = _league(run, league)
    results = _results(run)
    scored = sides(run, chosen, run.results(chosen)) if run.row.base else {}
    texts = _texts(run.row, suite)
    return document(
        "report.html",
        scripts=[asset("report.js")],
        title=_title(run.row),
        heading=_heading,
        signed=signed,
        excess=_excess,
        candidates=_candidates,
        row=run.row,
        results=results,
        league=chosen,
        figures=list(figures(run, results, chosen, scored)),
        flipped=[_flipped(name, side, run.results(chosen)[name], texts, n_flips) for name, side in scored.items()],
        has_texts=texts is not None,
        hyperparameters=hyperparameters(run.row),
        facts=[*group_facts(run.row.comparable_group), *row_facts(run.row)],
    )


def _title(row: Row) -> str:
    """Title of the report: the method and the model."""
    model, base = short_name(row.model), None if row.base is None else short_name(row.base)
    if row.method is None:
        return model if base is None else f"{model}, edited from {base}"
    return f"{row.method} on {base or model}"


def _heading(shown: Shown) -> str:
    if not shown.leagues:
        return "Success and hard negatives"
    return f"League{'s' if len(shown.leagues) > 1 else ''} {', '.join(shown.leagues)}"


def _league(run: Finished, wanted: str | None) -> str | None:
    if not run.leagues:
        if wanted is not None:
            raise UsageError("--league: this is no edit run, so it has no leagues to choose from")
        return None
    if wanted is not None:
        if wanted not in run.leagues:
            raise unknown_name("league", wanted, run.leagues, where="of this run")
        return wanted
    edited = (
        label for label in run.leagues if any(any(run.taken(name, label).values()) for name in run.results(label))
    )
    return next(edited, run.leagues[0])


def _results(run: Finished) -> list[Shown]:
    """The results by league, widest first; adjacent leagues that took the same candidates on all tasks are merged."""
    row = run.row
    if row.leagues is None:
        assert row.tasks is not None, "a row has either tasks or leagues"
        assert row.average is not None, "and so with averages"
        return [Shown((), row.tasks, row.average)]
    found: list[Shown] = []
    for label in reversed(run.leagues):
        league = row.leagues[label]
        if found and _taken(found[-1].tasks) == _taken(league.tasks):
            found[-1] = found[-1]._replace(leagues=(*found[-1].leagues, label))
        else:
            found.append(Shown((label,), league.tasks, league.average))
    return found


def _taken(tasks: Mapping[str, TaskResult]) -> list[TaskResult]:
    """The results without fields that depend on the league itself: the choice on val, and the position of its limit."""
    return [task.model_copy(update={"candidate": None, "straddles": None}) for task in tasks.values()]


def _excess(task: LeagueTask) -> str:
    """Format loss ratio − 1."""
    if task.ratio is None:
        return "–"
    return "0" if task.ratio == 1 else f"{task.ratio - 1:+.1e}".replace("-", "−").replace("e−0", "e−")


def _candidates(task: LeagueTask) -> str:
    """Format the candidates taken, by seed; – for the unedited model."""
    return ", ".join(str(each.candidate or "–") for each in task.seeds or ())


def _flipped(name: str, side: Side, task: TaskResult, texts: SuiteTexts | None, n_flips: int) -> FlippedTask:
    both = flips(side.evaluation[0], task.threshold)
    rows = tuple(
        (kind, flip, said(task.loss, flip.base), said(task.loss, flip.edited), texts[name][flip.row] if texts else None)
        for kind, found in both._asdict().items()
        for flip in found[:n_flips]
    )
    return FlippedTask(name, (len(both.fixed), len(both.broken)), rows)


def _texts(row: Row, given: str | Path | None) -> SuiteTexts | None:
    if given is None:
        return embedded_texts(row.comparable_group)
    if str(given) == PUBLISHED or (suite := Suite.load(given)).name == PUBLISHED:
        raise UsageError("--suite: the published texts are not ours to put on a page; see canonbench tasks show")
    if suite.data_hash(row.split) != row.suite.data_hash:
        raise CanonbenchError(f"suite {suite.name!r} holds other data than what was scored; give another --suite")
    return evaluation_texts(suite, row.split)


CANDIDATES = "candidates.jsonl"


class Shown(NamedTuple):
    """Results shown as one table: of one league, of several equal leagues, or of a fixed checkpoint."""

    leagues: tuple[str, ...]
    """Labels of the leagues; empty for a fixed checkpoint."""
    tasks: Mapping[str, TaskResult]
    average: Average


class Figure(NamedTuple):
    """A plot as SVG, with its texts."""

    title: str
    hint: str
    picture: Markup


def leagues_of(row: Row) -> dict[str, float]:
    """Map label to ε for the row's leagues."""
    known = row.leagues if row.leagues is not None else row.general.leagues if row.general is not None else {}
    return {label: float(label) for label in known}


def figures(
    run: Finished, results: Sequence[Shown], chosen: str | None, scored: Mapping[str, Side]
) -> Iterator[Figure]:
    """Draw all plots that the run has data for; none without a base.

    Args:
        run: the run.
        results: the results of every league, the widest first.
        chosen: the league used in plots of a single league; None for a fixed checkpoint.
        scored: the scores of that league's models, by task.

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
