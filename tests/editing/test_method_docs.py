"""docs/reference/methods.md says of every built-in method's settings what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from canonbench.editing.method import BUILT_IN

SCRIPT = Path(__file__).parents[2] / "scripts" / "write_method_tables.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_page_has_a_table_for_every_built_in_method_and_no_other(script: dict[str, Any]) -> None:
    assert script["sections"](script["PAGE"].read_text(encoding="utf-8")) == set(BUILT_IN)


def test_the_tables_are_those_of_the_code(script: dict[str, Any]) -> None:
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["written"](page) == page, "run scripts/write_method_tables.py"


def test_a_table_that_differs_is_put_right(script: dict[str, Any]) -> None:
    page = "before\n<!-- settings: in-context -->\n| old |\n<!-- end -->\nafter\n"
    lines = script["written"](page).splitlines()
    assert lines[:3] == ["before", "<!-- settings: in-context -->", "| setting | default | values | meaning |"]
    assert any(line.startswith("| `shots` | `8` | whole number >= 1 | ") for line in lines)
    assert lines[-2:] == ["<!-- end -->", "after"]


def test_shared_settings_stand_in_one_table_only(script: dict[str, Any]) -> None:
    shared = {row.name for row in script["settings"]("shared")}
    assert {"epochs", "batch_size", "regularizer"} <= shared
    for name in BUILT_IN:
        assert not shared & {row.name for row in script["settings"](name)}, name
