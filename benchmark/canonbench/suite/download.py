"""Download files over HTTP: resume, retry and verify them before they get their final names.

pooch's HTTPDownloader transfers the bytes. Its ``retrieve`` is not used because it deletes partial data when a
connection breaks, retries a 404, and cannot check a git blob id, the only hash known for the large files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pooch
import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from canonbench.errors import CanonbenchError
from canonbench.suite.published import PublishedFile, mismatch, part_of, publish

LONGEST_PAUSE = 30.0  # seconds
CHUNK = 1 << 16  # bytes
_PASSING = frozenset({408, 429})
"""Client errors worth a retry (timeout, too many requests), like every 5xx."""


class Wanted(NamedTuple):
    """One file to fetch: its URL, its target path, and its manifest entry."""

    url: str
    target: Path
    file: PublishedFile


@dataclass(frozen=True)
class RetryPolicy:
    """Retries and timeouts for each file."""

    retries: int = 4
    """Attempts after the first."""
    backoff: float = 1.0
    """Seconds before the first retry; doubles each time, up to 30."""
    timeout: float = 30.0
    """Seconds without a connection or data after which a transfer counts as broken."""


class _BrokenTransferError(Exception):
    """A transfer failed in a way that a retry may fix; the message says how."""


@dataclass(frozen=True)
class _Bar:
    """The progress bar of one file."""

    progress: Progress
    task: TaskID

    def begin(self, total: int | None, completed: int) -> None:
        self.progress.update(self.task, total=total, completed=completed)

    def advance(self, count: int) -> None:
        self.progress.advance(self.task, count)


def download_files(
    wanted: Sequence[Wanted], *, policy: RetryPolicy, say: Callable[[str], None], progress: bool | None
) -> None:
    """Fetch each file, resuming from a ``.part`` file if there is one, and verify it before it gets its final name.

    ``progress`` True draws a progress bar, False does not, and None draws one if standard error is a terminal. Without
    a bar, each file is reported in one line.

    Raises:
        CanonbenchError: the server refuses (4xx), serves other contents, or fails more often than the policy allows.
        OSError: the disk fails.
    """
    console = Console(stderr=True, force_terminal=progress)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal
    ) as drawn:
        for number, one in enumerate(wanted, start=1):
            label = f"{number}/{len(wanted)} {one.target.name}"
            bar = _Bar(drawn, drawn.add_task(label, total=one.file.bytes))
            _download(one, policy, say, bar)
            drawn.remove_task(bar.task)
            if drawn.disable:
                say(f"fetched {label} ({one.target.stat().st_size} bytes)")


def _download(one: Wanted, policy: RetryPolicy, say: Callable[[str], None], bar: _Bar) -> None:
    part = part_of(one.target)
    part.parent.mkdir(parents=True, exist_ok=True)
    if mismatch(part, one.file) is not None:  # else: an earlier process died between the last byte and the rename
        _complete(one, part, policy, say, bar)
    publish(part, one.target)


def _complete(one: Wanted, part: Path, policy: RetryPolicy, say: Callable[[str], None], bar: _Bar) -> None:
    """Attempt transfers until ``part`` is complete and verified; CanonbenchError when the retries are used up."""
    for attempt in range(policy.retries + 1):
        try:
            _attempt(one, part, policy.timeout, bar)
        except _BrokenTransferError as broken:
            if attempt == policy.retries:
                kept = part.stat().st_size if part.exists() else 0
                remedy = f"continues after the {kept} bytes kept" if kept else "tries again"
                raise CanonbenchError(
                    f"cannot fetch {one.url}: {broken} (attempt {attempt + 1} of {attempt + 1}); "
                    f"the same command {remedy}"
                ) from broken
            pause = min(policy.backoff * 2**attempt, LONGEST_PAUSE)
            say(f"{one.target.name}: {broken}; trying again in {pause:g} s ({attempt + 1} of {policy.retries})")
            time.sleep(pause)
        else:
            return


def _attempt(one: Wanted, part: Path, timeout: float, bar: _Bar) -> None:
    """Run one transfer. On return ``part`` is complete; a part that is not the start of the file is deleted."""
    try:
        in_one_go = _transfer(one.url, part, timeout, bar)
    except requests.HTTPError as error:
        raise _refusal(error, one.url, part) from error
    except (requests.Timeout, requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _BrokenTransferError(_reason(error)) from error
    except requests.RequestException as error:
        raise CanonbenchError(f"cannot fetch {one.url}: {error}") from error
    problem = mismatch(part, one.file)
    if problem is None:
        return
    size = part.stat().st_size
    if one.file.bytes is not None and size < one.file.bytes:
        raise _BrokenTransferError(f"the transfer ended after {size} of {one.file.bytes} bytes")
    part.unlink()
    if not in_one_go:
        raise _BrokenTransferError("the part kept from an earlier transfer was not this file's beginning")
    raise CanonbenchError(f"{one.url} is not the file that the manifest names: {problem}; it was deleted")


def _transfer(url: str, part: Path, timeout: float, bar: _Bar) -> bool:
    """Append the missing bytes to ``part``; True if all its bytes came from this transfer."""
    kept = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # ranges count bytes of the file, not of a compressed body
    if kept:
        headers["Range"] = f"bytes={kept}-"
    with part.open("ab") as output:

        def begin(response: requests.Response, **_: object) -> None:
            nonlocal kept
            if not response.ok:
                return
            if kept and response.status_code != requests.codes.partial_content:  # Range was ignored: start over
                kept = 0
                output.truncate(0)
            length = response.headers.get("Content-Length")
            bar.begin(total=kept + int(length) if length else None, completed=kept)

        fetch = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=timeout, headers=headers, hooks={"response": begin})
        fetch(url, _Counted(output, bar.advance), None)
    return kept == 0


@dataclass(frozen=True)
class _Counted:
    """A minimal file object for pooch that counts the bytes written."""

    stream: BinaryIO
    count: Callable[[int], None]

    def write(self, chunk: bytes) -> None:
        self.stream.write(chunk)
        self.count(len(chunk))

    def flush(self) -> None:
        self.stream.flush()


def _refusal(error: requests.HTTPError, url: str, part: Path) -> Exception:
    """Turn an HTTP error status into an exception: a retry, or a final CanonbenchError."""
    assert error.response is not None, "raise_for_status attaches its response"
    code = error.response.status_code
    status = f"HTTP {code} {error.response.reason}"
    if code == requests.codes.requested_range_not_satisfiable:
        part.unlink()
        return _BrokenTransferError("the part kept from an earlier transfer is longer than the file")
    if code in _PASSING or code >= 500:
        return _BrokenTransferError(status)
    return CanonbenchError(f"cannot fetch {url}: {status}")


def _reason(error: requests.RequestException) -> str:
    """Say why the connection broke, without urllib3's nested pool, address and cause."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server does not answer (timed out)"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    cause: Any = error.args[0] if error.args else error
    return f"no connection ({str(getattr(cause, 'reason', cause)).rpartition(': ')[2].strip()})"
