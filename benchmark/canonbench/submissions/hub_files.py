"""The files of rows and runs in a data-set repository of the hub, their checks, and the metadata of a model card.

    rows/NAME.jsonl       rows of a board
    runs/NAME/row.json    a finished run, with its examples.parquet and the record of how it was made

The same checks apply to files that are pushed and files that are pulled. A model card gets a row's results as the hub's
``model-index``, made by the classes of the hub's own library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCardData, metadata_update
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from canonbench.errors import CanonbenchError, UsageError
from canonbench.network import require_network, to_stderr
from canonbench.results import Average, Row, TaskResult, read_finished, read_rows_file, sides
from canonbench.runs import RunFolder
from canonbench.submissions.check_folder import private_things
from canonbench.submissions.hub_examples import one_line_of_the_hub

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


TASK = ("text-generation", "Model editing with canonical examples")
LOSS_RATIO = ("loss_ratio", "Loss on general text, edited / base")


def model_index(row: Row, model: str) -> list[dict[str, Any]]:
    """Convert the row's results to ``model-index``: one entry per task and one for the average, with all metrics.

    Args:
        row: a row of a fixed checkpoint with a base, or of an edit run, whose metrics name their league.
        model: name of the model in the card.

    Raises:
        UsageError: the row was scored without a base and thus holds nothing about an edit.
    """

    if row.base is None:
        raise UsageError("a card tells what an edit changed, and this row has no base; evaluate with --base")
    return eval_results_to_model_index(model, list(_results(row)))


def front_matter(row: Row, model: str) -> str:
    """Format ``model-index`` as the front matter of the card's README.md."""

    name, results = model_index_to_eval_results(model_index(row, model))
    return str(ModelCardData(model_name=name, eval_results=results)).strip() + "\n"


def push_card(row: Row, model: str, *, say: Callable[[str], None] = to_stderr) -> str:
    """Add the row's results to the card of a model on the hub, and return the URL of the commit.

    Results in the card for the same task, data, protocol and league are replaced; others are kept.

    Args:
        row: see ``model_index``.
        model: OWNER/NAME of an existing model.
        say: receives notes.

    Raises:
        UsageError: the row has no base, or the model does not exist.
        CanonbenchError: the hub refused or cannot be reached.
    """
    index = model_index(row, model.rpartition("/")[2])
    require_network(f"results to the card of model {model} of the Hugging Face hub", say, doing="sending")
    with one_line_of_the_hub(model, "sending to"):
        return metadata_update(
            model, {"model-index": index}, overwrite=True, commit_message="canonbench: evaluation results"
        )


def _results(row: Row) -> Iterator[EvalResult]:
    for label, league in (row.leagues or {}).items():
        for name, result in league.tasks.items():
            yield from _metrics(row, name, result, label)
            yield _result(row, name, *LOSS_RATIO, result.ratio, label)
        yield from _metrics(row, "average", league.average, label)
    if row.tasks is not None and row.average is not None:
        for name, each in row.tasks.items():
            yield from _metrics(row, name, each, None)
        yield from _metrics(row, "average", row.average, None)
        if row.general is not None:
            yield _result(row, "general", *LOSS_RATIO, row.general.ratio, None)


def _metrics(row: Row, name: str, result: TaskResult | Average, league: str | None) -> Iterator[EvalResult]:
    """List the metrics of a task or the average: success, its change, and the change on hard negatives."""
    yield _result(row, name, "success_rate", "Success, %", result.success.edited, league)
    yield _result(row, name, "success_rate_delta", "Δ success, points", result.success.delta, league)
    if result.hard_negatives is not None:
        over = result.hard_negatives.delta
        yield _result(row, name, "hard_negatives_delta", "Δ −log p of hard negatives, nats", over, league)


def _result(row: Row, name: str, metric: str, words: str, value: float | None, league: str | None) -> EvalResult:

    return EvalResult(
        task_type=TASK[0],
        task_name=TASK[1],
        dataset_type=row.suite.name,
        dataset_name=f"canonbench {row.suite.name} {row.suite.version}: {name}",
        dataset_config=name,
        dataset_split=row.split,
        dataset_revision=row.suite.data_hash,
        dataset_args={"protocol": row.protocol, "general": row.general.name if row.general else None},
        metric_type=metric,
        metric_name=words if league is None else f"{words} (league {league})",
        metric_config=league,
        metric_value=value,
    )


EXAMPLES = "examples.parquet"
RUN_FILES = ("run.yaml", "candidates.jsonl", "trajectory.svg", EXAMPLES, "row.json")
"""Files of a run folder; the row is written last, so that its existence means that the run is complete."""
NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")
PLACE = re.compile(rf"rows/{NAME.pattern}\.jsonl|runs/{NAME.pattern}/(?:{'|'.join(map(re.escape, RUN_FILES))})")
"""Pattern of the paths of rows and runs in a repository; other files are ignored."""
PATTERNS = ["rows/*.jsonl", *(f"runs/*/{name}" for name in RUN_FILES)]
"""The same paths as glob patterns, for downloads."""


@dataclass(frozen=True)
class Parcel:
    """The files to push to a repository."""

    files: dict[str, Path]
    """Path in the repository to the local file."""
    row: Row | None
    """The row of a run; None if the parcel holds rows."""

    @property
    def folder(self) -> str | None:
        """The run's folder in the repository."""
        return None if self.row is None else next(iter(self.files)).rpartition("/")[0]


def pack(path: Path, name: str | None = None) -> Parcel:
    """Check a finished run (its folder or row.json), a file of rows or a folder of such files, and list what to push.

    Args:
        path: the run or rows to push.
        name: name in the repository; by default the local name.

    Raises:
        UsageError: ``path`` is none of these, or the name is not valid.
        CanonbenchError: the run or a row is damaged.
    """
    if path.name == RunFolder(path).row_path.name:
        path = path.parent
    if RunFolder(path).row_path.is_file():
        return _pack_run(path, name)
    found = [path] if path.suffix == ".jsonl" and path.is_file() else sorted(path.glob("*.jsonl"))
    if not found:
        raise UsageError(f"{path}: neither a finished run nor a .jsonl file of rows, nor a folder of such files")
    if name is not None and len(found) > 1:
        raise UsageError(f"--as {name}: {path} holds {len(found)} files of rows, which cannot all be called so")
    for each in found:
        check_rows(each)
    return Parcel({f"rows/{_usable(name or each.stem)}.jsonl": each for each in found}, None)


def _pack_run(folder: Path, name: str | None) -> Parcel:
    row = check_run(folder)
    called = _usable(name or folder.resolve().name)
    there = [each for each in RUN_FILES if (folder / each).is_file()]
    return Parcel({f"runs/{called}/{each}": folder / each for each in there}, row)


def _usable(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name for a repository: use letters, digits, '-', '_' and '.' (--as NAME)")
    return name


def check_rows(path: Path) -> None:
    """Check that the file holds at least one row; CanonbenchError otherwise, in one line that names it."""
    if not read_rows_file(path):
        raise CanonbenchError(f"{path} holds no row")


def check_run(folder: Path) -> Row:
    """Check that a run's success rates follow from its examples, and return its row; CanonbenchError otherwise."""
    run = read_finished(folder)
    leagues: list[str | None] = [*run.leagues] or [None]
    for league in leagues:
        sides(run, league, run.results(league))
    return run.row


def private_findings(parcel: Parcel) -> Iterator[str]:
    """List private content of the text files: secrets, and paths of this machine."""
    for place, path in parcel.files.items():
        if path.name != EXAMPLES:
            yield from (f"{place}:{line} {what}" for line, what in private_things(path))
