"""Run canonbench commands, a line of JSON each, and answer each with a line; a program, because the hub's library
reads its settings once."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any
from unittest import mock

from canonbench.cli.main import main


def run(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Exit code, standard output and standard error of a command."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    code: object = None
    with (
        mock.patch.object(sys, "argv", ["canonbench", *arguments]),
        mock.patch.dict("os.environ", environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    out.flush()
    return {"code": code, "out": out.buffer.getvalue().decode(), "err": err.getvalue()}  # type: ignore[attr-defined]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
