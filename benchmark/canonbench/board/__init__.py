"""The leaderboard: build its pages from the rows, check them, export the board, and report single runs."""

from canonbench.board.build import Places, build, check
from canonbench.board.export import export
from canonbench.board.picture import draw_trajectory
from canonbench.board.report import write_report
from canonbench.board.sense_picture import ShownSense, Word, draw_senses, escaped

__all__ = [
    "Places",
    "ShownSense",
    "Word",
    "build",
    "check",
    "draw_senses",
    "draw_trajectory",
    "escaped",
    "export",
    "write_report",
]
