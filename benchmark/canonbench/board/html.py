"""Build the board's web page: one file that works from disk and without network.

The page's data are the groups, their tables and entries, and the facts of each row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from canonbench.board.board import Board, Entry, Scores, Table
from canonbench.board.document import asset, data_tables, document, licences, vega
from canonbench.board.plot_parts import PAGE, Look, Spec, config, looks
from canonbench.board.plots import against_hard_negatives, against_ratio, by_size
from canonbench.board.points import Field, base_of, fields, method_of, model_size, point, points
from canonbench.board.texts import SuiteTexts, file_of, group_facts, hyperparameters, ranked_by, row_facts
from canonbench.results import ComparableGroup, Flips, LeagueTask, ModelReference, Row, TaskResult, flips, said
from canonbench.suite import TASKS

Texts = Callable[[ComparableGroup], SuiteTexts | None]
"""Function from a group to its evaluation examples by task; None if a page may not show them."""
Record = dict[str, Any]
SHOWN = 3
"""Number of fixed rows, and of broken rows, shown per task."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FOLDER = re.compile(r"[\w-]+")
"""Pattern of names that become links; others do not."""


def board_data(board: Board, scores: Scores, texts: Texts) -> Record:
    """Collect the data of the page's scripts as values for JSON. Pure if ``scores`` and ``texts`` are."""
    return {
        "tasks": list(TASKS),
        "columns": TASK_COLUMNS,
        "fields": [_field(field, scores, texts) for field in fields(board)],
        "rows": {
            entry.placed.row.row_id: _row(file_of(entry.placed.place), entry.placed.row)
            for table in board.tables
            for entry in table.entries
        },
    }


def _field(field: Field, scores: Scores, texts: Texts) -> Record:
    styles = looks(field.methods, PAGE)
    examples: dict[str, dict[int, list[str | None]]] = {}
    known = texts(field.group)
    return {
        "name": field.name,
        "track": field.track,
        "facts": group_facts(field.group),
        "looks": styles,
        "plots": _plots(field, styles),
        "tables": [_table(table, scores, known, examples) for table in field.tables],
        "examples": examples,
    }


def _plots(field: Field, styles: Sequence[Look]) -> dict[str, Spec]:
    excess = [each["excess"] for each in points(field) if each["excess"] is not None]
    specs = {
        "ratio": against_ratio(excess, field.leagues, styles, PAGE),
        "hard": against_hard_negatives(styles, PAGE),
        "size": by_size(styles, PAGE),
    }
    return {name: {**spec, "config": config(PAGE)} for name, spec in specs.items()}


def _table(
    table: Table,
    scores: Scores,
    texts: SuiteTexts | None,
    examples: dict[str, dict[int, list[str | None]]],
) -> Record:
    ranks = [entry.rank for entry in table.entries]
    return {
        "league": table.league,
        "rankedBy": ranked_by(table),
        "entries": [
            _entry(entry, tied=entry.rank is not None and ranks.count(entry.rank) > 1)
            | {"flips": _flips(entry, scores, texts, examples)}
            for entry in table.entries
        ],
    }


def _entry(entry: Entry, *, tied: bool) -> Record:
    drawn, hard = point(entry), entry.average.hard_negatives
    return {
        "row": drawn["row"],
        "rank": entry.rank,
        "tied": tied,
        "note": entry.note,
        "unreliable": entry.unreliable,
        **{key: drawn[key] for key in ("delta", "low", "high", "hard", "excess")},
        "success": [entry.average.success.base, entry.average.success.edited],
        "hardInterval": hard.ci if hard else None,
        "tasks": {name: _task(task) for name, task in entry.tasks.items()},
    }


TASK_COLUMNS = (
    *("n", "base", "edited", "delta", "interval", "error", "clean", "hardBase", "hard", "hardInterval"),
    *("ratio", "ratioInterval", "membership", "candidate", "taken"),
)
"""Values of each task of an entry, in this order."""


def _task(task: TaskResult) -> list[Any]:
    hard, league = task.hard_negatives, task if isinstance(task, LeagueTask) else None
    taken = [str(each.candidate or "–") for each in league.seeds or ()] if league else []
    return [
        task.n, task.success.base, task.success.edited, task.success.delta, task.success.ci,
        league.standard_error if league else None,
        task.clean.delta if task.clean else None,
        *((hard.base, hard.delta, hard.ci) if hard else (None, None, None)),
        *((league.ratio, league.ratio_ci, league.membership, league.candidate) if league else (None,) * 4),
        ", ".join(taken) if len(taken) > 1 else None,
    ]  # fmt: skip


def _flips(
    entry: Entry,
    scores: Scores,
    texts: SuiteTexts | None,
    examples: dict[str, dict[int, list[str | None]]],
) -> Record | None:
    """Per task, the numbers of fixed and broken rows and the first of them; their subjects and texts go to examples."""
    sides = scores(entry) if entry.placed.row.examples is not None else None
    if sides is None:
        return None
    found = {}
    for name, side in sides.items():
        task = entry.tasks[name]
        both = flips(side.evaluation[0], task.threshold)
        found[name] = _shown(both, task.loss)
        for flip in (*both.fixed[:SHOWN], *both.broken[:SHOWN]):
            text = texts[name][flip.row] if texts is not None else None
            examples.setdefault(name, {})[flip.row] = [flip.subject, *(text[:2] if text else (None, None))]
    return found


def _shown(both: Flips, loss: str) -> Record:
    return {
        kind: {
            "n": len(rows),
            "rows": [[flip.row, said(loss, flip.base), said(loss, flip.edited)] for flip in rows[:SHOWN]],
        }
        for kind, rows in both._asdict().items()
    }


def _row(place: str, row: Row) -> Record:
    base = row.base or row.model
    return {
        "id": row.row_id,
        "method": method_of(row),
        "base": base_of(row),
        "size": model_size(base_of(row)),
        "state": row.state,
        "source": row.provenance.source,
        "hub": f"https://huggingface.co/{base.name}" if _on_hub(base) else None,
        "submission": f"../submissions/{row.submission}/" if FOLDER.fullmatch(row.submission or "") else None,
        "hyperparameters": hyperparameters(row),
        "facts": [("row", f"{row.row_id} ({place})"), *row_facts(row)],
    }


def _on_hub(model: ModelReference) -> bool:
    return model.source == "hub" and HUB_ID.fullmatch(model.name) is not None


SCRIPTS = ("format.js", "state.js", "figures.js", "details.js", "table.js", "board.js")
"""Source files that form one module, in this order."""


def html_page(board: Board, scores: Scores, texts: Texts) -> str:
    """Render the whole page; the same board gives the same bytes.

    Args:
        board: the board to show.
        scores: called for every entry with per-example values, to find the rows that it fixed and broke.
        texts: gives the evaluation examples of a group whose texts may be published; None for others.

    Raises:
        CanonbenchError: a library that the page embeds is not installed.
    """
    excluded = [
        {"method": method_of(placed.row), "base": base_of(placed.row), "place": file_of(placed.place), "reason": reason}
        for placed, reason in board.excluded
    ]
    libraries = [data_tables(), vega()]
    return document(
        "board.html",
        scripts=[*(library.script for library in libraries), "\n".join(asset(name) for name in SCRIPTS)],
        data=board_data(board, scores, texts),
        board_style=Markup(asset("board.css")),
        excluded=excluded,
        n_rows=len({entry.placed.row.row_id for table in board.tables for entry in table.entries}),
        libraries=[library.name for library in libraries],
        licences=licences(),
    )
