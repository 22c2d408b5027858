"""The first version of a submission's folder: its code, and a description with what a program can know filled in."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from canonbench.errors import CanonbenchError
from canonbench.leaderboard.hyperparameters import shared
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.submission import FILE, TODO
from canonbench.runs.check_folder import CODE, README, TEXTS
from canonbench.runs.submitted_row import RunRecord


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
