"""Put a finished run on the board: row, examples and the method's folder, validated before anything is written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from canonbench.editing import find_method
from canonbench.errors import CanonbenchError, UsageError
from canonbench.results import (
    FILE,
    BoardFinding,
    Checkout,
    Finished,
    Row,
    find_checkout,
    read_submission,
    write_rows_file,
)
from canonbench.runs import read_merged
from canonbench.submissions.draft import RunRecord, add_code, read_record, submitted_row, write_draft
from canonbench.submissions.staging import (
    empty_checkout,
    files_of,
    publish,
    require_valid,
    rows_of,
    same_file,
    set_rows,
    staged_copy,
)
from canonbench.submissions.validate import claim


@dataclass(frozen=True)
class Submitted:
    """The changes made to the checkout."""

    name: str
    row: Row
    written: tuple[str, ...]
    """Files created or changed, relative to the root of the checkout."""
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that stay when a submission is withdrawn: ``submit`` did not write them, or they have changed since."""
    findings: tuple[BoardFinding, ...]
    """What a person must still write, and what could not be checked."""


def submit(
    runs: str | Path | Sequence[str | Path],
    name: str,
    *,
    root: str | Path | None = None,
    replace: bool = False,
    code: str | None = None,
    model_name: str | None = None,
    examples_at: str | None = None,
) -> Submitted:
    """Put a finished run on the board of a checkout, under a submission's name.

    Args:
        runs: a run folder, or a row file with examples.parquet beside it; or several, of different tasks.
        name: name of the submission: an existing one, whose code must be what the run used, or a new one, which gets
            the run's code and a description to be completed.
        root: the checkout, or a folder in it; None for that of the working folder.
        replace: replace the submission's existing row for the same base in the same group.
        code: place of the method's code, if not where the run found it.
        model_name: name for the base, if the run's name for it is not valid elsewhere.
        examples_at: address on the hub of the run's examples.parquet, to keep it out of the repository.

    Raises:
        UsageError: the run or checkout does not exist, the name is not valid, or the row exists and ``replace`` is off.
        CanonbenchError: the run is damaged or partial, or the submission would not be valid; nothing was written.
    """
    checkout, given = find_checkout(root), _listed(runs)
    finished, record = read_merged(given), read_record(given)
    with staged_copy(checkout, name) as staged:
        row = _stage(
            staged,
            checkout,
            name,
            finished,
            given[0],
            record,
            replace=replace,
            code=code,
            model_name=model_name,
            examples_at=examples_at,
        )
        found = require_valid(staged, name, finished.path)
        notes = _code_notes(staged.submission(name), record, row)
        changed = publish(staged, checkout, name)
    return Submitted(name, row, *changed, (), (*found, *notes))


def withdraw(
    runs: str | Path | Sequence[str | Path],
    name: str,
    *,
    root: str | Path | None = None,
    code: str | None = None,
    model_name: str | None = None,
    examples_at: str | None = None,
) -> Submitted:
    """Undo ``submit`` with the same arguments: remove the row, its examples, and the written files that are unchanged.

    Raises:
        UsageError: the run or checkout does not exist, or the run is not on the board under that name.
        CanonbenchError: the run is damaged.
    """
    checkout, given = find_checkout(root), _listed(runs)
    finished, record = read_merged(given), read_record(given)
    folder, rows_file = checkout.submission(name), checkout.rows_file(name)
    with tempfile.TemporaryDirectory(prefix="canonbench-") as temporary:
        fresh = empty_checkout(Path(temporary), name)
        row = _stage(
            fresh,
            checkout,
            name,
            finished,
            given[0],
            record,
            replace=False,
            code=code,
            model_name=model_name,
            examples_at=examples_at,
        )
        standing = rows_of(checkout, name)
        if row not in standing:
            raise UsageError(f"{finished.path} is not on the board as a row of {name!r}")
        left = [each for each in standing if each != row]
        unchanged = [] if left else [path.name for path in files_of(fresh.submission(name))]
        keep = {each.examples.file for each in left if each.examples}
        assert row.examples is not None, "a submitted row names its examples"
        gone = [folder / each for each in unchanged if same_file(folder / each, fresh.submission(name) / each)]
        is_here = examples_at is None and row.examples.file not in keep
        gone += [checkout.root / row.examples.file] if is_here else []
    if not left:
        gone.append(rows_file)
    for path in dict.fromkeys(gone):
        path.unlink(missing_ok=True)
    if left:
        write_rows_file(rows_file, left)  # last, so that the same command can finish after it was killed
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    kept = tuple(checkout.place(path) for path in files_of(folder)) if not left else ()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    written = (checkout.place(rows_file),) if left else ()
    return Submitted(name, row, written, tuple(checkout.place(path) for path in dict.fromkeys(gone)), kept, ())


def _listed(runs: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]


def _stage(
    staged: Checkout,
    checkout: Checkout,
    name: str,
    run: Finished,
    near: Path,
    record: RunRecord,
    *,
    replace: bool,
    code: str | None,
    model_name: str | None,
    examples_at: str | None,
) -> Row:
    """Build the new state of the submission in the staged copy, and return its row."""
    folder = staged.submission(name)
    if not (folder / FILE).is_file():
        method = add_code(folder, checkout.submission(name), record, run.row, near, code)
    row = submitted_row(run, folder, name, model_name, examples_at)
    if not (folder / FILE).is_file():
        write_draft(folder, row, method)
    standing = rows_of(staged, name)
    same = [each for each in standing if claim(each) == claim(row) and each.state != "reported"]
    if same and not replace:
        raise UsageError(
            f"submission {name!r} has a row on {row.model.name!r} in this group already ({same[0].row_id}); "
            "--replace puts this one in its place"
        )
    set_rows(staged, name, [*(each for each in standing if each not in same), row])
    return row


def _code_notes(folder: Path, record: RunRecord, row: Row) -> tuple[BoardFinding, ...]:
    """Notes on the method's code; CanonbenchError if the submission's code is not what ran.

    A method in a package has more code than the file of its function; for it, the row names the versions.
    """
    method = read_submission(folder, drafts=True).method
    if method is None or record.code is None or find_method(folder).code_digest == record.code:
        return ()
    if ".py" in method:
        raise CanonbenchError(
            f"submissions/{folder.name} has other code ({method}) than this run used; "
            f"run 'canonbench edit --method submissions/{folder.name}' and submit that, or give another --name"
        )
    version = row.versions.get("canonbench", "?")
    message = f"the code of {method} has changed since the run, which was made with canonbench {version}"
    return (BoardFinding("note", f"submissions/{folder.name}", message),)
