"""Export the board, one file per format: CSV and Parquet for programs, LaTeX and BibTeX for papers.

CSV and Parquet hold one flat table; LaTeX holds the board's tables and BibTeX the entries for citing them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from canonbench.board.board import Board, Entry, Table
from canonbench.board.build import Places, read_board
from canonbench.board.markdown import one_line
from canonbench.board.points import base_of, fields, method_of
from canonbench.board.texts import signed, table_title
from canonbench.files import write_whole, written
from canonbench.results import NAME, Checkout, LeagueTask, Submission, TaskResult, read_submission
from canonbench.suite import TASKS

TEXT = (
    *("suite", "data_hash", "split", "general", "general_hash", "protocol", "dtype_class", "track", "league"),
    *("row", "method", "model", "base", "submission", "state", "flags", "source", "note"),
)
AVERAGE = ("base", "edited", "delta", "low", "high", "hard_negatives_delta", "ratio")
OF_TASK = ("base", "edited", "delta", "low", "high", "standard_error", "hard_negatives_delta", "ratio")
NUMBERS = (*(f"average_{name}" for name in AVERAGE), *(f"{task}_{name}" for task in TASKS for name in OF_TASK))
COLUMNS = (*TEXT, "rank", *NUMBERS)
"""Columns of the table, which has one line per row and league. Success is in percent, its Δ and interval in points,
hard negatives in nats."""
FORMULA = ("=", "+", "-", "@")
"""First characters that make a spreadsheet evaluate a cell; in CSV such a text is prefixed with an apostrophe."""


def records(board: Board) -> Iterator[dict[str, Any]]:
    """Return every entry of every table as ``COLUMNS``; None for absent values."""
    for table in board.tables:
        for entry in table.entries:
            yield _record(table, entry)


def to_frame(board: Board) -> pd.DataFrame:
    """The board as one data frame with the columns ``COLUMNS``."""
    types = {**dict.fromkeys(TEXT, "string"), "rank": "Int64", **dict.fromkeys(NUMBERS, "Float64")}
    return pd.DataFrame(list(records(board)), columns=list(COLUMNS)).astype(types)


def to_csv(board: Board) -> str:
    """CSV with a line of names; a missing value is an empty cell."""
    frame = to_frame(board)
    frame[list(TEXT)] = frame[list(TEXT)].map(_harmless, na_action="ignore")
    return str(frame.to_csv(index=False, lineterminator="\n"))


def to_parquet(board: Board) -> bytes:
    """The same in Parquet, with types."""
    file = BytesIO()
    to_frame(board).to_parquet(file, index=False)
    return file.getvalue()


def _record(table: Table, entry: Entry) -> dict[str, Any]:
    row, group = entry.placed.row, table.group
    hard = entry.average.hard_negatives
    low, high = entry.interval or (None, None)
    success = entry.average.success
    average = (success.base, success.edited, success.delta, low, high, hard.delta if hard else None, entry.ratio)
    return {
        **{name: getattr(group, name) for name in TEXT if name in group._fields},
        "track": table.track,
        "league": table.league,
        "row": row.row_id,
        "method": row.method,
        "model": row.model.name,
        "base": row.base.name if row.base else None,
        "submission": row.submission,
        "state": row.state,
        "flags": ",".join(flag.name for flag in row.flags) or None,
        "source": row.provenance.source,
        "note": entry.note,
        "rank": entry.rank,
        **_named("average", AVERAGE, average),
        **{name: value for task in TASKS for name, value in _task(task, entry.tasks[task]).items()},
    }


def _task(name: str, result: TaskResult) -> dict[str, float | None]:
    low, high = result.success.ci or (None, None)
    hard = result.hard_negatives.delta if result.hard_negatives else None
    error, ratio = (result.standard_error, result.ratio) if isinstance(result, LeagueTask) else (None, None)
    success = result.success
    return _named(name, OF_TASK, (success.base, success.edited, success.delta, low, high, error, hard, ratio))


def _named(prefix: str, names: Iterable[str], values: Iterable[float | None]) -> dict[str, float | None]:
    return {f"{prefix}_{name}": value for name, value in zip(names, values, strict=True)}


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


PREAMBLE = "% Written by canonbench leaderboard build. Needs \\usepackage{booktabs}; cites leaderboard.bib.\n"
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\textbraceleft{}",  # not \{, which BibTeX would count as a brace
    "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"\textminus{}",
    "±": r"\textpm{}",
    **{character: f"\\{character}" for character in "&%$#_"},
}
OWN = """\
@software{canonbench,
  title = {canonbench: benchmark harness and leaderboard for model editing with canonical examples},
  author = {{The canonbench maintainers}}
}

@misc{hewitt2024model,
  title = {Model Editing with Canonical Examples},
  author = {John Hewitt and Sarah Chen and Lanruo Lora Xie and Edward Adams and Percy Liang and Christopher D. Manning},
  year = {2024},
  eprint = {2402.06155},
  archivePrefix = {arXiv}
}
"""


def escape(text: str) -> str:
    """Put the text in one line and escape all characters that LaTeX would interpret."""
    return "".join(SPECIAL.get(character, character) for character in one_line(text))


def to_latex(board: Board) -> str:
    """Format every table of the board as a table environment."""
    tables = (_table(field.name, each) for field in fields(board) for each in field.tables)
    return "\n".join([PREAMBLE, *tables])


def to_bibtex(submissions: Mapping[str, Submission]) -> str:
    """Format entries for the benchmark, its paper and every submission, by name."""
    return "\n".join([OWN, *(_entry(name, each) for name, each in sorted(submissions.items()))])


def _table(name: str, table: Table) -> str:
    columns = ["", "method", "base model", *TASKS, "average", "95\\,\\%", "hard"]
    title = escape(f"{name}; {table_title(table)}")
    return "\n".join(
        [
            "\\begin{table}",
            f"\\caption{{{title}. $\\Delta$ success in points, hard negatives in nats.}}",
            f"\\begin{{tabular}}{{rll{'r' * (len(columns) - 3)}}}",
            "\\toprule",
            _line(columns),
            "\\midrule",
            *(_line(_cells(entry)) for entry in table.entries),
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cells(entry: Entry) -> list[str]:
    row, hard = entry.placed.row, entry.average.hard_negatives
    cite = f"~\\cite{{{_key(row.submission)}}}" if row.submission and NAME.fullmatch(row.submission) else ""
    interval = entry.interval and f"$[{entry.interval.low:+.2f}, {entry.interval.high:+.2f}]$"
    return [
        "" if entry.rank is None else str(entry.rank),
        escape(method_of(row)) + cite,
        escape(base_of(row)),
        *(_number(entry.tasks[name].success.delta, 1) for name in TASKS),
        _number(entry.delta, 2),
        interval or "",
        _number(hard.delta if hard else None, 3),
    ]


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"${signed(value, decimals).replace('−', '-')}$"


def _entry(name: str, submission: Submission) -> str:
    paper = submission.paper
    fields = {
        "title": escape(paper.title if paper else submission.title),
        "author": " and ".join(escape(author) for author in submission.authors),
        "url": _address(paper.url if paper else submission.code),
    }
    lines = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items() if value)
    return f"@misc{{{_key(name)},\n{lines}\n}}\n"


def _key(name: str) -> str:
    return f"canonbench-{name}"


def _address(url: str | None) -> str:
    return re.sub(r"[{}\\]", lambda match: f"%{ord(match[0]):02X}", url or "")


class Format(NamedTuple):
    """An export format."""

    file: str
    """File name."""
    of: Callable[[Board, Path], str | bytes]
    """Function that renders the board; it also gets the checkout's root, for files that rows only name."""


FORMATS = {
    "csv": Format("leaderboard.csv", lambda board, _: to_csv(board)),
    "parquet": Format("leaderboard.parquet", lambda board, _: to_parquet(board)),
    "latex": Format("leaderboard.tex", lambda board, _: to_latex(board)),
    "bibtex": Format("leaderboard.bib", lambda board, root: to_bibtex(_submissions(board, root))),
}


def export(places: Places, name: str) -> Path:
    """Write the board in one of ``FORMATS`` into the folder of pages, and return the path.

    Raises:
        CanonbenchError: as in ``read_board``; for BibTeX also if a row's submission cannot be read; or the file cannot
            be written.
    """
    form = FORMATS[name]
    content = form.of(read_board(places), places.root)
    path = places.out / form.file
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return path


def _submissions(board: Board, root: Path) -> dict[str, Submission]:
    checkout = Checkout(root)
    names = {entry.placed.row.submission for table in board.tables for entry in table.entries}
    return {name: read_submission(checkout.submission(name)) for name in names if name is not None}
