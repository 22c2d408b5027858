"""The first version of a submission's folder: its code, and a description with what a program can know filled in.

From a finished run to the row and the examples that go on the board.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash
from canonbench.model_names import portable
from canonbench.records import read_yaml
from canonbench.results import (
    FILE,
    LIMIT,
    TODO,
    ExamplesReference,
    Finished,
    ModelReference,
    Row,
    compact,
    differences,
    row_path_of,
    shared,
    with_present_intervals,
    write_examples,
)
from canonbench.runs import IDENTITY, RunFolder
from canonbench.submissions.check_folder import CODE, README, TEXTS
from canonbench.submissions.hub_examples import require_address


def add_code(folder: Path, own: Path, record: RunRecord, row: Row, run: Path, code: str | None) -> str | None:
    """Copy the method's code into a new submission; what ``method:`` is to say of it, None if the run has no method.

    Args:
        folder: of the submission, as it is being made.
        own: of the submission in the checkout; code that somebody has put there is not copied.
        record: of the run.
        row: of the run.
        run: the run's folder or row, near which a relative path is looked for too.
        code: where the method is, if not where the run found it.

    Raises:
        CanonbenchError: its code is not found.
    """
    if row.method is None:
        return None
    given = code or record.method or row.method
    file, py, function = given.partition(".py")
    if py and (not function or function.startswith(":")):
        source = _found(f"{file}.py", run)
        name = source.name if source.resolve().parent == own.resolve() else CODE
        if name == CODE and source.resolve() != (own / CODE).resolve():
            shutil.copyfile(source, folder / CODE)
        return f"{name}{function or ':edit'}"
    if "/" in given:
        source = _found(given, run)
        if source.resolve() != own.resolve():
            _copy_texts(source, folder)
        return f"{CODE}:edit"
    return given


def _found(given: str, run: Path) -> Path:
    """Relative to the working folder, else to a folder above the run, which is where the run was started."""
    for start in (Path(), *run.resolve().parents):
        path = start / given
        if path.is_file() if given.endswith(".py") else path.is_dir():
            return path
    raise CanonbenchError(f"the method's code, {given}, is not found; say with --code where it is")


def _copy_texts(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.suffix in TEXTS and path.is_file():
            shutil.copyfile(path, folder / path.name)


def write_draft(folder: Path, row: Row, method: str | None) -> None:
    """Describe the submission as far as the run tells; files that are there stay."""
    description = {
        "schema": 1,
        "title": folder.name,
        "summary": f"{TODO}: what it does, in a sentence",
        "authors": [f"{TODO}: who made it"],
        "contact": f"{TODO}: an e-mail address, a GitHub handle or an issue tracker",
        "paper": None,
        "code": None,
        "method": method,
        "hyperparameters": shared(row.hyperparameters or {}),
        "tuning": {"how": f"{TODO}: how the hyperparameters were chosen, on which split", "trials": None},
        "models": [(row.base or row.model).name],
    }
    texts = {
        FILE: yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=100),
        README: f"# {folder.name}\n\n{TODO}: what the method does, and how its rows were made.\n",
    }
    for name, text in texts.items():
        if not (folder / name).is_file():
            (folder / name).write_text(text, encoding="utf-8")


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
