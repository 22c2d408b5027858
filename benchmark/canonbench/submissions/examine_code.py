"""Import a submission's code and try its settings in a separate process, so that it cannot end the calling one.

That process is ``python -m canonbench.submissions.examine_code FOLDER ASKED ANSWER``.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from canonbench.editing import BUILT_IN, find_method, parse_settings
from canonbench.errors import CanonbenchError

PATIENCE = 300
"""Time limit for importing a method, seconds."""


@dataclass(frozen=True)
class Examined:
    """The outcome of importing a method and trying settings."""

    problem: str | None
    """Why the method, or the hyperparameters that come with it, cannot be used; None if they can."""
    refused: Mapping[str, str]
    """Settings that the method does not take, as keys by ``as_key``, and the reason."""


def examine(folder: Path, method: str, asked: Sequence[Mapping[str, Any]]) -> Examined:
    """Import the method of a submission and try settings on it. A built-in method needs no separate process.

    Args:
        folder: folder of the submission.
        method: the method as its description names it.
        asked: the settings to try, in plain values.
    """
    settings = {as_key(each): each for each in asked}
    if method in BUILT_IN:
        return _examined(folder, settings)
    key = _digest(folder), tuple(settings)
    if key not in _KNOWN:
        _KNOWN[key] = _by_another_process(folder, settings)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, tuple[str, ...]], Examined] = {}
"""Cache of outcomes: the same code and settings have the same outcome in any folder."""


def as_key(settings: Mapping[str, Any]) -> str:
    """Encode settings as one string."""
    return json.dumps(settings, sort_keys=True)


def _examined(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> Examined:
    try:
        method = find_method(folder)
        parse_settings(method.settings, method.defaults)
    except CanonbenchError as error:
        return Examined(str(error).replace(f"{folder}{os.sep}", ""), {})
    refused = {}
    for key, each in settings.items():
        try:
            parse_settings(method.settings, each)
        except CanonbenchError as error:
            refused[key] = str(error)
    return Examined(None, refused)


def _by_another_process(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> Examined:
    with TemporaryDirectory(prefix="canonbench-") as temporary:
        asked, answer = Path(temporary, "asked.json"), Path(temporary, "answer.json")
        asked.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", __name__, str(folder), str(asked), str(answer)]
        nothing = subprocess.DEVNULL
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                command, stdin=nothing, stdout=nothing, stderr=nothing, env=environment, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return Examined(f"is still not imported after {PATIENCE} seconds", {})
        if not answer.is_file():
            return Examined(f"ends the program when it is imported ({_ending(done.returncode)})", {})
        return Examined(**json.loads(answer.read_text(encoding="utf-8")))


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _digest(folder: Path) -> str:
    """SHA-256 of the folder's files except its examples."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".parquet" and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main(folder: str, asked: str, answer: str) -> None:
    """Run the separate process. The answer is written last, so that its existence means that the code was imported."""
    found = _examined(Path(folder), json.loads(Path(asked).read_text(encoding="utf-8")))
    content = json.dumps({"problem": found.problem, "refused": dict(found.refused)})
    Path(answer).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # end here even if the code has started threads
