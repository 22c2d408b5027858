"""Turn a finished run into a submission: its row and examples, its code, and a draft of its description.

The draft is filled in with what a program can know; a person completes it.
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
    """Copy the method's code into a new submission; return the value of ``method:``, None if the run has no method.

    Args:
        folder: folder of the submission that is being made.
        own: folder of the submission in the checkout; code that is there already is not copied.
        record: the run's record.
        row: the run's row.
        run: the run's folder or row; a relative path is also looked up near it.
        code: place of the method's code, if not where the run found it.

    Raises:
        CanonbenchError: the code is not found.
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
    """Find a path relative to the working folder, else to a folder above the run, where it may have been started."""
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
    """Write the description as far as the run's data allow; existing files stay."""
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
    """The method as recorded in ``run.yaml``."""

    method: str | None
    """Method as the user gave it; None if a function was passed, or no method was run."""
    code: str | None
    """SHA-256 of the file that defines its function."""


def read_record(runs: Sequence[str | Path]) -> RunRecord:
    """Read the record of runs by one method, stored with their rows; it is empty if there are only rows.

    Raises:
        CanonbenchError: a record is damaged, or the runs used different code.
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
    """Make the row for the board, and write its examples into ``folder`` in compact form unless they are on the hub.

    Intervals are recomputed by this version, even if an earlier one made the run.

    Args:
        run: the run as measured.
        folder: folder of the submission.
        name: name of the submission.
        model_name: name for the base, instead of the run's.
        examples_at: address on the hub of the run's examples.parquet.

    Raises:
        UsageError: the address is not valid, or the run combines several.
        CanonbenchError: the row is not from a run measured here, or its examples are damaged or too large.
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
    """Reference the run's own file by its address; that the row follows from it is checked now, while it is local."""
    path = RunFolder(Path(run.path) if Path(run.path).is_dir() else Path(run.path).parent).examples_path
    if not path.is_file():
        raise UsageError("--examples-at is for a single run, whose examples.parquet was pushed as it is")
    if unlike := differences(with_present_intervals(run.row, run.examples), run.examples):
        raise CanonbenchError(f"{run.path}: {unlike[0]}")
    return ExamplesReference(file=address, sha256=file_hash(path))


def _public(model: ModelReference, name: str | None) -> ModelReference:
    """The model under a name that is valid on other machines, not a local path."""
    if model.source == "ensemble":
        name = portable(model.name, large=name)
    elif name is None and model.source in ("folder", "peft", "edit", "gguf"):
        name = PurePath(model.name).name
    return model if name is None else model.model_copy(update={"name": name})
