"""Cache log-likelihoods on disk, appended pack by pack, so that a killed run resumes without scoring anything twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from canonbench.errors import CanonbenchError
from canonbench.files import written
from canonbench.network import cache_dir


@dataclass
class Journal:
    """The log-likelihoods of one unit under one model: a JSONL file with one line per finished pack.

    A kill can only leave the last line incomplete; it is cut off when the file is read again. Sums are written with
    17 digits, so they are read back bit for bit.
    """

    path: Path
    sums: dict[int, float] = field(default_factory=dict)
    """Maps a request to its summed log-likelihood in nats."""
    tokens: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)
    """Maps a request to the log-likelihoods of its tokens in nats, if they are kept."""
    seconds: float = 0.0
    """Seconds spent scoring this unit, summed over all processes."""

    def read(self) -> None:
        """Read the scores written by earlier processes.

        Raises:
            CanonbenchError: the file is damaged.
        """
        if not self.path.is_file():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)
        try:
            for line in content[:whole].splitlines():
                entry = json.loads(line)
                self.sums.update(zip(entry["requests"], entry["sums"], strict=True))
                self.tokens.update(zip(entry["requests"], map(np.asarray, entry.get("tokens", ())), strict=False))
                self.seconds += entry["seconds"]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise CanonbenchError(
                f"{self.path} is damaged ({error}); delete it and run the same command again"
            ) from error

    def append(
        self, sums: dict[int, float], seconds: float, tokens: Mapping[int, npt.NDArray[np.float64]] | None = None
    ) -> None:
        """Write one finished pack to disk before returning; ``tokens`` adds each token's log-likelihood."""
        entry: dict[str, Any] = {
            "requests": list(sums),
            "sums": list(sums.values()),
            "seconds": round(seconds, 6),
        }
        if tokens is not None:
            entry["tokens"] = [tokens[request].tolist() for request in sums]
        line = json.dumps(entry).encode() + b"\n"
        with written(self.path), self.path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                os.truncate(self.path, start)
                raise
        self.sums.update(sums)
        self.tokens.update(tokens or {})
        self.seconds += seconds

    def array(self, n_requests: int) -> npt.NDArray[np.float64]:
        """Return all sums in order, shape (requests,); the unit must be complete."""
        return np.asarray([self.sums[index] for index in range(n_requests)], dtype=np.float64)


@dataclass(frozen=True)
class Store:
    """A folder of journals: in the cache for a base, shared by all its edits; in the run folder for an edited model."""

    folder: Path
    say: Callable[[str], None]

    @contextmanager
    def journal(self, key: str) -> Iterator[Journal]:
        """Open and lock the journal for ``key``; a second process waits, then finds the scores already there."""
        with written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{key}.lock")
        with written(self.folder):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.say("waiting: another canonbench process is scoring the same model on the same data")
                lock.acquire()
        try:
            journal = Journal(self.folder / f"{key}.jsonl")
            journal.read()
            yield journal
        finally:
            lock.release()


def base_store(otherwise: Path, say: Callable[[str], None]) -> Store:
    """Return the store shared by all edits of one base, or ``otherwise`` if the cache cannot be written."""
    shared = cache_dir() / "scores"
    try:
        shared.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=shared):
            return Store(shared, say)
    except OSError as error:
        say(f"the base's scores go into the run folder: cannot write {shared} ({error.strerror})")
        return Store(otherwise, say)


def content_key(*parts: object) -> str:
    """Hash everything that a score depends on; the parts are content hashes, never model names."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:40]
