"""The published JSON Schema of a row; ``datasets/row.schema.json`` is this text."""

from __future__ import annotations

import json
from typing import Any

from canonbench.leaderboard.row import Row


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of ``row.json``.

    It says what each field is; what must hold between fields (a row with a base has all of it) only ``Row`` checks.
    """
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Row.model_json_schema(by_alias=True)}


def schema_text() -> str:
    """The schema as the text of ``datasets/row.schema.json``."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
