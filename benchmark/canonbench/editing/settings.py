"""The settings (hyperparameters) of a method: parsed from text, checked against its dataclass, and listed.

The list is used by --help and docs/reference/methods.md.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from canonbench.editing.isolation import foreign
from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.records import parse_yaml, problems

NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
"""Numbers such as 3e-4, which YAML 1.1 reads as text."""


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Parse the ``name=value`` texts of ``--set``. Values are YAML; ``options.r=4`` sets r in the mapping ``options``.

    Raises:
        UsageError: a text is not an assignment, its value is not YAML, or a name is given both a value and parts.
    """
    values: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        *outer, name = (part.strip() for part in path.split("."))
        if not equals or not all([*outer, name]):
            raise UsageError(f"--set {text}: must read name=value, such as --set lr=3e-4")
        inner = values
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {text}: {part!r} has been given a value already, so it has no parts")
        try:
            parsed = parse_yaml(value, name)
        except CanonbenchError as error:
            raise UsageError(f"--set {text}: the value is not valid YAML; quote it") from error
        if isinstance(inner.get(name), dict) and not isinstance(parsed, dict):
            raise UsageError(f"--set {text}: parts of {name!r} have been given already")
        inner[name] = parsed
    return values


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` updated with ``over``; nested mappings are merged recursively."""
    both = dict(values)
    for name, value in over.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


def parse_settings(settings_class: type | None, values: Mapping[str, Any]) -> Any:
    """Create an instance of ``settings_class`` with these values; a plain dict if the method has no such class.

    Text such as "3e-4" becomes a number if the setting is a number, or if its type is not known.

    Raises:
        UsageError: a setting is unknown or missing, or its value has the wrong type or is out of bounds.
        CanonbenchError: the class itself is unusable, see ``fields_of``.
    """
    if settings_class is None:
        return {str(name): _with_numbers(value) for name, value in values.items()}
    wanted, known = adapter(settings_class), names(settings_class)
    for name in values:
        if name not in known:
            raise _unknown(str(name), known)
    given = {name: _with_numbers(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    try:
        with foreign(f"the settings class {settings_class.__name__}", passing=(ValidationError,)):
            return wanted.validate_python(given)
    except ValidationError as error:
        raise UsageError(_first_problem(error, given)) from error


def _unknown(name: str, known: list[str]) -> UsageError:
    return unknown_name("setting", name, known) if known else UsageError(f"unknown setting {name!r}: there are none")


def names(settings_class: type) -> list[str]:
    """Return the names of all settings."""
    return [field.name for field in dataclasses.fields(settings_class) if field.init]


def adapter(settings_class: type) -> TypeAdapter[Any]:
    """Return the validator of the class. CanonbenchError if it is not a dataclass or has an unsupported type."""
    if not dataclasses.is_dataclass(settings_class):
        raise CanonbenchError(f"the settings class {settings_class.__name__} must be a dataclass")
    try:
        return TypeAdapter(settings_class)
    except (PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise CanonbenchError(f"the settings class {settings_class.__name__} cannot be used: {reason}") from error


def _with_numbers(value: Any) -> Any:
    match value:
        case str() if NUMBER.fullmatch(value):
            return float(value)
        case Mapping():
            return {name: _with_numbers(each) for name, each in value.items()}
        case list():
            return [_with_numbers(each) for each in value]
        case _:
            return value


def _first_problem(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Describe the first problem in one line: the setting, the given value, and what is allowed."""
    first, *_ = found = problems(error)
    if not first.place:  # a validator of the whole class
        return f"settings: {_should(first.message)}"
    name = first.place.partition(".")[0]
    if name not in given:
        return f"setting {name!r} has no default; give --set {name}=VALUE"
    # a field of several types has one error for each
    same = dict.fromkeys(_should(each.message) for each in found if each.place.partition(".")[0] == name)
    return f"setting {name!r} is {given[name]!r}: {', or '.join(same)}"


def _should(message: str) -> str:
    message = message.removeprefix("Assertion failed, ")
    return "a part is missing" if message == "missing" else message.replace("Input should", "should", 1)


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
    """The documentation of one setting, for --help and the docs."""

    name: str
    type: str
    """The type in plain words with its bounds: ``number > 0``, ``paper | released``."""
    default: str
    """The default, as a user would type it; ``required`` if there is no default."""
    doc: str
    """The attribute docstring, on one line."""


def fields_of(settings_class: type, defaults: Mapping[str, Any] | None = None) -> list[SettingDoc]:
    """List the fields of a settings dataclass in order, inherited ones after its own.

    Args:
        settings_class: a standard or pydantic dataclass.
        defaults: values that override the class's own defaults, as a submission may have.

    Raises:
        CanonbenchError: a field's type cannot be given as text.
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
    """Return a field's docstring from the class that defines it; pydantic subclasses do not inherit them."""
    said = (getattr(each, "__pydantic_fields__", {}).get(name) for each in settings_class.__mro__)
    return next((field.description for field in said if field is not None and field.description), "")


def _schema(settings_class: type) -> dict[str, Any]:
    try:
        return adapter(settings_class).json_schema()
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise CanonbenchError(f"the settings class {settings_class.__name__} cannot be listed: {reason}") from error


def _type_text(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Describe a JSON Schema in plain words."""
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
    """Format a value as one line of YAML, as typed after ``--set name=``; small numbers in the form 1e-6."""
    if isinstance(value, float):
        return re.sub(r"(?<=e-)0|(?<=e)\+0?", "", repr(value))
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)  # a double-quoted YAML text, \\n for a new line
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
