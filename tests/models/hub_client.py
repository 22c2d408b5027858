"""Load each model of a JSON list, say what came of it; a program, because the hub's library reads its settings once."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models import hub
from canonbench.models.checkpoint import Trust


def load(name: str, *, base: str | None = None, pickle: bool = False, offline: bool = False) -> dict[str, Any]:
    """Load a model: its fingerprint, revision and base."""
    from canonbench.models.fingerprint import fingerprint
    from canonbench.models.load import Loading, base_name, load_model

    os.environ["CANONBENCH_OFFLINE"] = "1" if offline else "0"
    said: list[str] = []
    how = Loading(trust=Trust(pickle=pickle), say=said.append)
    try:
        loaded = load_model(name, how, base=base)
    except CanonbenchError as error:
        return {"error": type(error).__name__, "message": str(error), "said": said}
    found = {"weights": fingerprint(loaded.model).weights, "revision": loaded.source.revision, "said": said}
    return found | {"base": base_name(name, how)}


def fetch(name: str) -> dict[str, Any]:
    """Only fetch a model."""
    os.environ["CANONBENCH_OFFLINE"] = "0"
    try:
        return {"folder": str(hub.fetch(name, None, trust=Trust(), say=lambda _line: None))}
    except CanonbenchError as error:
        return {"error": type(error).__name__, "message": str(error)}


def timed(wish: dict[str, Any]) -> dict[str, Any]:
    """What came of a wish, and the seconds it took."""
    start = time.monotonic()
    found = fetch(wish["fetch"]) if "fetch" in wish else load(**wish)
    return found | {"seconds": time.monotonic() - start}


if __name__ == "__main__":
    json.dump([timed(wish) for wish in json.load(sys.stdin)], sys.stdout)
