"""Change a submission in a temporary copy first; files move into the checkout only when the copy is valid."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from canonbench.errors import CanonbenchError
from canonbench.files import PART, replacing, write_error
from canonbench.results import BoardFinding, Checkout, Row, read_rows_file, write_rows_file
from canonbench.submissions.check_folder import EXAMPLES
from canonbench.submissions.validate import check_board


class Changed(NamedTuple):
    """Changed files of a checkout, relative to its root."""

    written: tuple[str, ...]
    deleted: tuple[str, ...]


@contextmanager
def staged_copy(checkout: Checkout, name: str) -> Iterator[Checkout]:
    """Copy the submission and its rows to a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="canonbench-") as temporary:
        staged = empty_checkout(Path(temporary), name)
        if (folder := checkout.submission(name)).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", f".*{PART}")  # partial files are left by a killed process
            shutil.copytree(folder, staged.submission(name), symlinks=True, ignore=ignore, dirs_exist_ok=True)
        if (rows := checkout.rows_file(name)).is_file():
            shutil.copyfile(rows, staged.rows_file(name))
        yield staged


def empty_checkout(root: Path, name: str) -> Checkout:
    """Make a board with one submission that has no files yet."""
    staged = Checkout(root)
    staged.submission(name).mkdir(parents=True)
    staged.rows.mkdir(parents=True)
    return staged


def publish(staged: Checkout, checkout: Checkout, name: str) -> Changed:
    """Move new and changed files into the checkout, the rows last; CanonbenchError if a file cannot be written."""
    new = {path.relative_to(staged.root) for path in files_of(staged.submission(name))}
    old = {path.relative_to(checkout.root) for path in files_of(checkout.submission(name))}
    changed = [path for path in sorted(new) if not same_file(checkout.root / path, staged.root / path)]
    changed.append(staged.rows_file(name).relative_to(staged.root))
    gone = sorted(old - new)
    try:
        for path in changed:
            target = checkout.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                shutil.copyfile(staged.root / path, part)
        for path in gone:
            (checkout.root / path).unlink()
    except OSError as error:
        raise write_error(Path(error.filename or checkout.root), error) from error
    return Changed(tuple(path.as_posix() for path in changed), tuple(path.as_posix() for path in gone))


def rows_of(checkout: Checkout, name: str) -> list[Row]:
    """Read the rows of a submission; empty if it has no file of rows."""
    path = checkout.rows_file(name)
    return [each.row for each in read_rows_file(path)] if path.is_file() else []


def set_rows(checkout: Checkout, name: str, rows: Sequence[Row]) -> None:
    """Set the rows of a submission, and delete examples that none of them names."""
    write_rows_file(checkout.rows_file(name), rows)
    named = {Path(each.examples.file).name for each in rows if each.examples}
    for path in checkout.submission(name).glob(EXAMPLES):
        if path.name not in named:
            path.unlink()


def require_valid(staged: Checkout, name: str, what: str) -> tuple[BoardFinding, ...]:
    """Validate the submission: return the todos and notes; CanonbenchError if there is an error."""
    found = check_board(staged, name)
    if errors := [str(each) for each in found if each.level == "error"]:
        raise CanonbenchError(f"{what} cannot be put on the board: {'; '.join(errors)}")
    return tuple(found)


def files_of(folder: Path) -> list[Path]:
    """List the submission's own files, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def same_file(one: Path, other: Path) -> bool:
    """Whether both are files with the same bytes."""
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
