"""The run folder: run.yaml, row.json, examples.parquet, events.jsonl and the journals of scores."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from canonbench.errors import CanonbenchError
from canonbench.files import clear_leftovers, require_folder, require_output, write_whole, written
from canonbench.model_names import is_ensemble
from canonbench.records import read_yaml
from canonbench.results import Row

IDENTITY = "identity"
RUNS = Path("canonbench-runs")
"""The folder under which ``auto`` creates run folders."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run; ``row.json`` is written last, so its existence means completion."""

    path: Path

    @property
    def row_path(self) -> Path:
        """Path of the finished row."""
        return self.path / "row.json"

    @property
    def examples_path(self) -> Path:
        """Path of the table with every example's log-probabilities and loss."""
        return self.path / "examples.parquet"

    @property
    def scores_path(self) -> Path:
        """Folder with the journals of the edited model's scores."""
        return self.path / "scores"

    @property
    def record_path(self) -> Path:
        """Path of the run's description; written first."""
        return self.path / "run.yaml"

    def artefacts(self, task: str, seed: int) -> Path:
        """Return the folder of a trial's kept candidates."""
        return self.path / "artefacts" / task / f"seed-{seed}"

    def artefact(self, task: str, seed: int, number: int) -> Path:
        """Return the folder of one kept candidate."""
        return self.artefacts(task, seed) / f"candidate-{number}"

    def require_usable(self) -> None:
        """Check that the folder holds a run, is empty, or can be created.

        Raises:
            UsageError: the path or one of its parents is a file.
            CanonbenchError: it cannot be written, or holds something other than a run.
        """
        require_folder(self.path)
        if not self.path.is_dir() or self.record_path.is_file():
            return
        foreign = [
            name for found in self.path.iterdir() if not (name := found.name).startswith((".lock", ".run.yaml."))
        ]
        if foreign:
            raise CanonbenchError(f"{self.path} is not a run folder (it holds {min(foreign)}); give another --run")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder against other processes.

        Raises:
            UsageError: see ``require_usable``.
            CanonbenchError: see ``require_usable``; or another process is running here.
        """
        self.require_usable()
        with written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise CanonbenchError(
                    f"another canonbench process is running in {self.path}; wait for it or give another --run"
                ) from error
        try:
            if self.record_path.is_file():
                for folder in (self.path, self.path / "trials"):
                    clear_leftovers(folder)
            yield
        finally:
            lock.release()

    def claim(self, identity: dict[str, Any], record: dict[str, Any]) -> bool:
        """Assign the folder to this run. Returns True if it was assigned already, so that the run continues.

        Args:
            identity: everything the row depends on; a folder holds runs of one identity only.
            record: everything else needed to repeat the run.

        Raises:
            CanonbenchError: the folder belongs to another run; the first difference is named.
        """
        path = self.record_path
        if not path.is_file():
            content = yaml.safe_dump({IDENTITY: identity, **record}, sort_keys=False, allow_unicode=True)
            write_whole(path, content)
            return False
        try:
            found = dict(read_yaml(path, f"{IDENTITY}: ...")[IDENTITY])
        except (CanonbenchError, KeyError, TypeError, ValueError) as error:
            raise CanonbenchError(f"{path} is damaged; delete the folder or give another --run") from error
        for key in {**identity, **found}:
            if identity.get(key) != found.get(key):
                raise CanonbenchError(
                    f"{self.path} holds another run ({key}: {found.get(key)!r} there, {identity.get(key)!r} here); "
                    "give another --run, or delete the folder"
                )
        return True

    def row(self) -> Row:
        """Return the finished row. CanonbenchError if its file is damaged (the scores behind it are still kept)."""
        try:
            return Row.read(self.row_path)
        except CanonbenchError as error:
            raise CanonbenchError(f"{error}; delete {self.row_path} and run the same command again") from error

    def log(self, event: str, **details: Any) -> None:
        """Add one line to events.jsonl."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **details})
        path = self.path / "events.jsonl"
        with written(path), path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_whole(self, path: Path, write: Callable[[Path], Any]) -> None:
        """Have ``write`` fill a temporary file beside ``path``, then move it there: a reader never sees half a file."""
        write_whole(path, write)


def require_places(run: str | Path | None, output: str | Path | None) -> None:
    """Check in advance that the run folder and the copy of the row can be written.

    Raises:
        UsageError, CanonbenchError: see ``require_output``, ``require_folder`` and ``RunFolder.require_usable``.
    """
    if output is not None:
        require_output(Path(output))
    if run == "auto":
        require_folder(RUNS)
    elif run is not None:
        RunFolder(Path(run)).require_usable()


def write_copy(row: Row, output: str | Path | None, kept: Path | None) -> None:
    """Write the row to ``output``, if given. A failure message says where the row is already kept, if it is."""
    if output is None:
        return
    try:
        row.write(output)
    except CanonbenchError as error:
        raise CanonbenchError(f"{error}; the row is in {kept}" if kept else str(error)) from error


def _slug(names: Sequence[str]) -> str:
    """Join names into one word for a folder name. Paths, also in an ensemble's name, are cut to their last part."""
    last = [re.sub(r"[^,:=]*/", "", name) if is_ensemble(name) else Path(name).name for name in names]
    return re.sub(r"[^\w.-]+", "-", "-".join(last)).strip("-.") or "model"


@contextmanager
def run_folder(run: str | Path | None, identity: Mapping[str, Any], names: Sequence[str]) -> Iterator[RunFolder]:
    """Open and lock the run's folder; use a temporary one if the caller wants none.

    Args:
        run: the folder; ``auto`` makes one under ``RUNS``, named after ``names`` and ``identity``; None for a
            temporary one.
        identity: everything the run's numbers depend on.
        names: the name of the method, if any, and of the model.
    """
    if run is None:
        with tempfile.TemporaryDirectory(prefix="canonbench-") as temporary:
            yield RunFolder(Path(temporary))
        return
    path = Path(run)
    if run == "auto":
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        path = RUNS / f"{_slug(names)}-{identity['suite']}-{identity['split']}-{digest}"
    folder = RunFolder(path)
    with folder.held():
        yield folder
