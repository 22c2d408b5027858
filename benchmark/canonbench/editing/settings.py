"""The settings (hyperparameters) of a method: read from text and checked against its dataclass.

The settings of a method, listed for people: what --help and docs/reference/methods.md say of them.
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
"""What people write and YAML 1.1 takes for text: 3e-4."""


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """What ``--set`` is given, ``name=value`` each: values are YAML, ``options.r=4`` goes into the mapping ``options``.

    Raises:
        UsageError: a text is no assignment, its value no YAML, or a name is given both a value and parts.
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
    """``values`` with those of ``over`` put in; mappings are merged part by part."""
    both = dict(values)
    for name, value in over.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


def parse_settings(settings_class: type | None, values: Mapping[str, Any]) -> Any:
    """An instance of ``settings_class`` with these values; a plain dict where a method has no such class.

    Text becomes a number where a number is wanted, and where nothing says what is wanted: "3e-4" is one.

    Raises:
        UsageError: an unknown setting, one that is missing, or a value that its type or bounds refuse.
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
    """What can be set."""
    return [field.name for field in dataclasses.fields(settings_class) if field.init]


def adapter(settings_class: type) -> TypeAdapter[Any]:
    """What checks values against the class; CanonbenchError if it is no dataclass, or has a type that cannot be."""
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
    """One line: which setting, what was given, what it should have been."""
    first, *_ = found = problems(error)
    if not first.place:  # a check of the class as a whole
        return f"settings: {_should(first.message)}"
    name = first.place.partition(".")[0]
    if name not in given:
        return f"setting {name!r} has no default; give --set {name}=VALUE"
    # a field of several types has one problem for each
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
