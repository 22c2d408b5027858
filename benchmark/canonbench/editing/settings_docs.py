"""The settings of a method, listed for people: what --help and docs/reference/methods.md say of them."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import PydanticUserError

from canonbench.editing.settings import adapter, names
from canonbench.errors import CanonbenchError

KINDS = {
    "number": "number",
    "integer": "whole number",
    "string": "text",
    "boolean": "true | false",
    "null": "null",
    "array": "list",
    "object": "mapping",
}
"""JSON Schema's types in plain words."""

REQUIRED = "required"


class SettingDoc(NamedTuple):
    """One setting, for --help and the docs."""

    name: str
    type: str
    """In plain words with its bounds: ``number > 0``, ``paper | released``."""
    default: str
    """As it would be typed; ``required`` where there is none."""
    doc: str
    """The attribute docstring, on one line."""


def fields_of(settings_class: type, defaults: Mapping[str, Any] | None = None) -> list[SettingDoc]:
    """Every field of a settings dataclass in its order, inherited ones after its own.

    Args:
        settings_class: a dataclass, of pydantic or not.
        defaults: values that stand in front of the class's own defaults, as they come with a submission.

    Raises:
        CanonbenchError: a field's type is none that can be given as text.
    """
    schema = _schema(settings_class)
    definitions, fields = schema.get("$defs", {}), schema.get("properties", {})
    required = dict.fromkeys(schema.get("required", ()), REQUIRED)
    given = {name: _text(value) for name, value in (defaults or {}).items()}
    own = inspect.get_annotations(settings_class)
    return [
        SettingDoc(
            name,
            _type_text(fields[name], definitions),
            {**required, **given}.get(name) or _default_text(settings_class, name, fields[name]),
            " ".join(_docstring(settings_class, name).split()),
        )
        for name in sorted(names(settings_class), key=lambda name: name not in own)
    ]


def _docstring(settings_class: type, name: str) -> str:
    """Of the class that says it: pydantic does not hand the docstrings of fields down to subclasses."""
    said = (getattr(each, "__pydantic_fields__", {}).get(name) for each in settings_class.__mro__)
    return next((field.description for field in said if field is not None and field.description), "")


def _schema(settings_class: type) -> dict[str, Any]:
    try:
        return adapter(settings_class).json_schema()
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise CanonbenchError(f"the settings class {settings_class.__name__} cannot be listed: {reason}") from error


def _type_text(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema in plain words."""
    if "$ref" in field:
        return _type_text(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in field:
        return " | ".join(_type_text(each, definitions) for each in field["anyOf"])
    if "const" in field or "enum" in field:
        return " | ".join(_text(value) for value in field.get("enum", [field.get("const")]))
    if "prefixItems" in field:
        return ", ".join(_type_text(each, definitions) for each in field["prefixItems"])
    kind = KINDS.get(field.get("type", ""), "anything")
    if kind == "list" and "items" in field:
        return f"list, each {_type_text(field['items'], definitions)}"
    return f"{kind}{_bounds(field)}"


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    found = [f"{sign} {_text(field[key])}" for key, sign in signs.items() if key in field]
    return f" {', '.join(found)}" if found else ""


def _default_text(settings_class: type, name: str, field: Mapping[str, Any]) -> str:
    if "default" in field:
        return _text(field["default"])
    factory = settings_class.__dataclass_fields__[name].default_factory  # type: ignore[attr-defined]
    return _text(factory()) if callable(factory) else ""


def _text(value: Any) -> str:
    """As YAML on one line, so that it can be typed after ``--set name=``; small numbers as people write them: 1e-6."""
    if isinstance(value, float):
        return re.sub(r"(?<=e-)0|(?<=e)\+0?", "", repr(value))
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)  # a double-quoted YAML text, \\n for a new line
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
