"""Commands in a process whose hub is a given one, for the hub's library reads its settings once: started as a program,
this runs canonbench commands, a line of JSON each, and answers each with a line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from unittest import mock

from data_set_hub import TOKEN

from command_outcome import Outcome


class Canonbench(Protocol):
    """``canonbench("push", ...)``; ``environment`` holds for this command."""

    def __call__(self, *arguments: object, environment: dict[str, str] | None = None) -> Outcome: ...


@contextlib.contextmanager
def commands(endpoint: str, cache: Path) -> Iterator[Canonbench]:
    """Run commands in one process, logged in, that sends large files the plain way and leaves nothing outside."""
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "*",
        "PYTHONPATH": os.pathsep.join(sys.path),  # a program does not find the tests' helpers by itself
    }
    unset = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "CANONBENCH_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | settings
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        wishes, answers = process.stdin, process.stdout
        assert wishes is not None
        assert answers is not None

        def canonbench(*arguments: object, environment: dict[str, str] | None = None) -> Outcome:
            wish = {"arguments": [str(each) for each in arguments], "environment": environment or {}}
            wishes.write(json.dumps(wish) + "\n")
            wishes.flush()
            return Outcome(**json.loads(answers.readline()))

        yield canonbench
        wishes.close()


def run(arguments: list[str], environment: dict[str, str]) -> dict[str, object]:
    """Exit code, standard output and standard error of a command."""
    from canonbench.cli.main import main

    out, err = io.BytesIO(), io.StringIO()
    code: object = None
    with (
        io.TextIOWrapper(out, encoding="utf-8", write_through=True) as text,
        mock.patch.object(sys, "argv", ["canonbench", *arguments]),
        mock.patch.dict("os.environ", environment),
        contextlib.redirect_stdout(text),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return {"code": code, "out": out.getvalue().decode(), "err": err.getvalue()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
