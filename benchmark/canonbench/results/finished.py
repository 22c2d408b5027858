"""Read a finished run: its row, and the scores of the row's models on every example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import is_dir, is_file
from canonbench.results.compact import read_examples
from canonbench.results.compare import Side
from canonbench.results.examples import Block, Blocks, EditBlocks, Taken, read_blocks, read_edit_blocks, taken_blocks
from canonbench.results.row import Row
from canonbench.results.row_results import TaskResult
from canonbench.scoring import success_rate

if TYPE_CHECKING:
    import pyarrow


ROW, EXAMPLES = "row.json", "examples.parquet"
"""Files of a finished run folder; the row is written last."""
ROUNDING = 1e-6  # of the success rates in a row, percent


@dataclass(frozen=True)
class Finished:
    """A row and the examples that its numbers were computed from."""

    path: str
    """Path as the user gave it."""
    row: Row
    examples: pyarrow.Table

    def results(self, league: str | None) -> Mapping[str, TaskResult]:
        """The row's tasks; for an edit run, those of the league."""
        found = self.row.tasks if self.row.leagues is None else self.row.leagues[str(league)].tasks
        assert found is not None, "a row has either tasks or leagues"
        return found

    @property
    def leagues(self) -> list[str]:
        """Leagues of an edit run, tightest first; empty for a fixed checkpoint."""
        return sorted(self.row.leagues or (), key=float)

    def taken(self, task: str, league: str) -> dict[int, int]:
        """Map each seed to the candidate that the league took; 0 is the unedited model."""
        assert self.row.leagues is not None, "an edit run"
        return {each.seed: each.candidate or 0 for each in self.row.leagues[league].tasks[task].seeds or ()}


def row_path_of(path: str | Path) -> Path:
    """Return the path of the row: in a run folder, or the given file itself.

    Raises:
        UsageError: the file or folder does not exist.
        CanonbenchError: the folder holds no finished run.
    """
    given = Path(path)
    row_path = given / ROW if is_dir(given) else given
    if not is_dir(given) and not is_file(given):
        raise UsageError(f"{given}: no such run folder or row")
    if not row_path.is_file():
        raise CanonbenchError(f"{given} holds no finished run (there is no {row_path.name} in it)")
    return row_path


def read_finished(path: str | Path) -> Finished:
    """Read a run folder, or a row file with examples.parquet beside it.

    Raises:
        UsageError: the file or folder does not exist.
        CanonbenchError: the run is not finished, has no per-example values, or a file is damaged.
    """
    row_path = row_path_of(path)
    row, examples = Row.read(row_path), row_path.with_name(EXAMPLES)
    if not examples.is_file():
        raise CanonbenchError(f"{row_path} has no {EXAMPLES} beside it, which holds what to compare")
    return Finished(str(path), row, read_examples(examples))


def sides(run: Finished, league: str | None, tasks: Iterable[str]) -> dict[str, Side]:
    """Return the run's scores on each of the tasks; for an edit run, by the models that the league took, one per seed.

    Raises:
        CanonbenchError: the examples are damaged, or do not belong to the row.
    """
    results = run.results(league)
    losses = {name: result.loss for name, result in results.items()}
    try:
        if league is None:
            blocks = read_blocks(run.examples, losses)
            found = {name: _fixed(blocks, name) for name in tasks}
        else:
            edited = read_edit_blocks(run.examples, losses)
            found = {name: _edited(edited, name, run.taken(name, league)) for name in tasks}
    except CanonbenchError as error:
        raise CanonbenchError(f"{run.path}: {error}") from error
    for name, side in found.items():
        reported = results[name].success.edited
        rates = [success_rate(block.edited, results[name].threshold) for block in side.evaluation]
        if not rates or abs(fmean(rates) - reported) > ROUNDING:
            raise CanonbenchError(f"{run.path}: the row and its examples.parquet are not of one run (task {name!r})")
    return found


def _fixed(blocks: Blocks, name: str) -> Side:
    def of(task: str, part: str) -> list[Block]:
        return [blocks[task, part]] if (task, part) in blocks else []

    return Side(of(name, "evaluation"), of(name, "hard_negatives"), of("", "general"))


def _edited(blocks: EditBlocks, name: str, taken: Taken) -> Side:
    has_hard = (name, "hard_negatives", 0, 0) in blocks
    return Side(
        taken_blocks(blocks, name, "evaluation", taken),
        taken_blocks(blocks, name, "hard_negatives", taken) if has_hard else [],
        taken_blocks(blocks, name, "general", taken),
    )
