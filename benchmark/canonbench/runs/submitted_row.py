"""From a finished run to the row and the examples that go on the board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash
from canonbench.leaderboard.compact import LIMIT, compact, write_examples
from canonbench.leaderboard.recompute import differences, with_present_intervals
from canonbench.leaderboard.row import ExamplesReference, ModelReference, Row
from canonbench.models.portable import portable
from canonbench.records import read_yaml
from canonbench.runs.finished import Finished, row_path_of
from canonbench.runs.folder import IDENTITY, RunFolder
from canonbench.runs.hub_examples import require_address


class RunRecord(NamedTuple):
    """What ``run.yaml`` says of the method."""

    method: str | None
    """As the user gave it; None if a function was handed over, or none was run."""
    code: str | None
    """SHA-256 of the file that its function stood in."""


def read_record(runs: Sequence[str | Path]) -> RunRecord:
    """The record beside the rows of runs by one method; an empty one where there are only rows.

    Raises:
        CanonbenchError: it is damaged, or they were made by different code.
    """
    records = list(dict.fromkeys(_record(run) for run in runs))
    if len({each.code for each in records}) > 1:
        raise CanonbenchError(f"{', '.join(map(str, runs))} were made by different versions of the method's code")
    return records[0]


def _record(run: str | Path) -> RunRecord:
    path = RunFolder(row_path_of(run).parent).record_path
    if not path.is_file():
        return RunRecord(None, None)
    content = read_yaml(path, f"{IDENTITY}: ...")
    passed, identity = content.get("passed", {}), content.get(IDENTITY)
    if not isinstance(passed, dict) or not isinstance(identity, dict):
        raise CanonbenchError(f"{path} is damaged")
    return RunRecord(*(None if each is None else str(each) for each in (passed.get("method"), identity.get("code"))))


def submitted_row(
    run: Finished, folder: Path, name: str, model_name: str | None, examples_at: str | None = None
) -> Row:
    """The row that goes on the board, its examples written into ``folder`` in compact form unless they are elsewhere.

    Its intervals are this version's, also where an earlier one made the run.

    Args:
        run: as measured.
        folder: of the submission ``name``.
        name: the submission's.
        model_name: what to call the base instead of what the run calls it.
        examples_at: address on the hub of the run's examples.parquet.

    Raises:
        UsageError: the address is none, or the run is made of several.
        CanonbenchError: the row is not of a run that was measured here, or its examples are damaged or too large.
    """
    row = run.row
    if row.state != "measured":
        raise CanonbenchError(f"{run.path}: its row is {row.state}; only a row that was measured can be submitted")
    examples = _kept(run, folder, name) if examples_at is None else _on_hub(run, require_address(examples_at))
    row = with_present_intervals(row, run.examples)
    content: dict[str, Any] = row.model_dump(by_alias=True)
    has_base_in_name = row.leagues is not None or row.base is None or row.model.source == "ensemble"
    content |= {
        "state": "submitted",
        "submission": name,
        "examples": examples,
        "base": None if row.base is None else _public(row.base, model_name),
        "model": _public(row.model, model_name if has_base_in_name else None),
    }
    return Row.model_validate(content)


def _kept(run: Finished, folder: Path, name: str) -> ExamplesReference:
    path = write_examples(compact(run.examples, run.row), folder)
    if (size := path.stat().st_size) > LIMIT:
        raise CanonbenchError(
            f"{run.path}: its examples take {size / 2**20:.1f} MiB, the limit is {LIMIT >> 20}; "
            "use fewer --seeds, or 'canonbench push' the run and say with --examples-at where they are"
        )
    return ExamplesReference(file=f"submissions/{name}/{path.name}", sha256=file_hash(path))


def _on_hub(run: Finished, address: str) -> ExamplesReference:
    """The run's own file under its address; that the row follows from it is seen now, while it is here."""
    path = RunFolder(Path(run.path) if Path(run.path).is_dir() else Path(run.path).parent).examples_path
    if not path.is_file():
        raise UsageError("--examples-at is for a single run, whose examples.parquet was pushed as it is")
    if unlike := differences(with_present_intervals(run.row, run.examples), run.examples):
        raise CanonbenchError(f"{run.path}: {unlike[0]}")
    return ExamplesReference(file=address, sha256=file_hash(path))


def _public(model: ModelReference, name: str | None) -> ModelReference:
    """The model under a name that means something elsewhere: not by its place on this machine."""
    if model.source == "ensemble":
        name = portable(model.name, large=name)
    elif name is None and model.source in ("folder", "peft", "edit", "gguf"):
        name = PurePath(model.name).name
    return model if name is None else model.model_copy(update={"name": name})
