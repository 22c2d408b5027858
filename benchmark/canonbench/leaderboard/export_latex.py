"""The board for papers: LaTeX tables, and BibTeX entries for what they cite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from canonbench.leaderboard.board import Board, Entry, Table
from canonbench.leaderboard.pages.markdown_text import one_line
from canonbench.leaderboard.pages.points import base_of, fields, method_of
from canonbench.leaderboard.pages.words import signed, table_title
from canonbench.leaderboard.submission import NAME, Submission
from canonbench.suite.tasks import TASKS

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
    """The text in one line, in which no character is a command."""
    return "".join(SPECIAL.get(character, character) for character in one_line(text))


def to_latex(board: Board) -> str:
    """A table environment for every table of the board."""
    tables = (_table(field.name, each) for field in fields(board) for each in field.tables)
    return "\n".join([PREAMBLE, *tables])


def to_bibtex(submissions: Mapping[str, Submission]) -> str:
    """The benchmark, its paper, and every submission by name."""
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
