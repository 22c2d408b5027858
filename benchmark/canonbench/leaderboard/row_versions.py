"""Rows of earlier versions of the schema, brought to the present one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Content = dict[str, Any]


def upgraded(content: Content) -> Content:
    """A row's content in the present version; what is of no earlier version is returned as it is."""
    while (step := _STEPS.get(str(content.get("schema")))) is not None:
        content = step(content)
    return content


def _from_1(content: Content) -> Content:
    """Version 2 added where a row on the board comes from and why it may not be ranked."""
    added: Mapping[str, Any] = {"submission": None, "flags": [], "examples": None}
    return {**added, **content, "schema": 2}


_STEPS: dict[str, Callable[[Content], Content]] = {"1": _from_1}
