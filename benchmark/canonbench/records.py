"""Read JSON, JSONL and YAML and validate the content with pydantic; every error is one line that names the place.

All readers refuse the same things: duplicate keys, nesting deeper than any canonbench file, text that cannot be
written back (NUL, lone surrogates), and YAML aliases that expand to too many values.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jsonlines
import yaml
from pydantic import BaseModel, ValidationError

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import read_bytes, read_text, refuse_utf16, replacing

LARGEST_YAML = 2**20
"""Most bytes of a YAML file: they are written by hand, and a megabyte takes seconds to parse."""
DEEPEST = 64
"""Most levels of nested lists and mappings; canonbench's own files have about ten."""
MOST_NODES = 10**6
"""Most values of a YAML file after its aliases are expanded; a few lines of aliases can expand to billions."""
LONGEST_NUMBER = 1024
"""Most bits of a whole number; a larger one cannot become a float."""
MERGE = "tag:yaml.org,2002:merge"
Model = TypeVar("Model", bound=BaseModel)


def read_json(path: Path, *, foreign: bool = False) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: the file.
        foreign: the file was written by another program and may repeat keys or contain NUL in text.

    Raises:
        CanonbenchError: the file cannot be read or is not a JSON object; file, line and column are named.
    """
    content = parse_json(read_text(path), str(path), foreign=foreign)
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def parse_json(text: str, place: str, *, foreign: bool = False) -> Any:
    """Parse JSON text; a CanonbenchError names ``place``, line and column. ``foreign`` as in ``read_json``."""
    try:
        return _loads(text, foreign=foreign)
    except json.JSONDecodeError as error:
        raise CanonbenchError(f"{place}:{error.lineno}:{error.colno}: not valid JSON ({error.msg})") from error
    except ValueError as error:
        raise CanonbenchError(f"{place}: {error}") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file, one per line.

    Raises:
        CanonbenchError: the file cannot be read, or a line is empty or not a JSON object; ``file:line`` is named.
    """
    content = read_bytes(path)
    refuse_utf16(content, path)
    # Split at "\n" only: str.splitlines would also split at U+2028 and similar characters, which occur in real text.
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    rows: list[dict[str, Any]] = []
    with jsonlines.Reader(lines, loads=partial(_loads, foreign=False)) as reader:
        try:
            for row in reader.iter(allow_none=True):
                if not isinstance(row, dict):
                    kind = type(row).__name__
                    raise CanonbenchError(f"{path}:{len(rows) + 1}: a row must be a JSON object, this is a {kind}")
                rows.append(row)
        except jsonlines.InvalidLineError as error:
            raise CanonbenchError(f"{path}:{error.lineno}: {_line_problem(error.__cause__)}") from error
    return rows


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write rows to a JSONL file atomically, one per line; CanonbenchError naming the path if that fails."""
    with replacing(path) as part, jsonlines.open(part, "w", dumps=json.dumps) as writer:
        writer.write_all(rows)


def _line_problem(cause: BaseException | None) -> str:
    if isinstance(cause, json.JSONDecodeError) and not cause.doc.strip():
        return "an empty line; every line is a JSON object"
    if isinstance(cause, json.JSONDecodeError):
        return f"not valid JSON ({cause.msg}, column {cause.colno})"
    return "not UTF-8 text" if isinstance(cause, UnicodeDecodeError) else str(cause)


def _loads(text: str, *, foreign: bool) -> Any:
    """Parse and check JSON; raises JSONDecodeError with line and column, or ValueError."""
    if text.startswith("\ufeff"):
        raise ValueError("begins with a byte order mark (BOM), which JSON does not allow; save it without one")
    try:
        content = json.loads(text, object_pairs_hook=None if foreign else _unique)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        if "digits" in str(error):
            raise ValueError("a number has too many digits") from error
        raise
    _check(content, foreign=foreign)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return content


def _check(content: Any, *, foreign: bool) -> None:
    """Raise ValueError if content is nested too deeply, has a huge number, or has text that cannot be written back.

    NUL in text is allowed only if ``foreign``.
    """
    level = [content]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for each in level:
            match each:
                case str():
                    _check_text(each, foreign)
                case int() if each.bit_length() > LONGEST_NUMBER:
                    raise ValueError("a number has too many digits")
                case dict():
                    below += each
                    below += each.values()
                case list() | tuple() | set():
                    below += each
        level = below
        if not level:
            return
    raise _too_deep()


def _check_text(text: str, foreign: bool) -> None:
    if not foreign and "\0" in text:
        raise ValueError(f"a NUL character in {_short(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"half a character (a lone surrogate) in {_short(text)}") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _too_deep() -> ValueError:
    return ValueError(f"nested more than {DEEPEST} levels deep")


def read_yaml(path: Path, example: str) -> dict[Any, Any]:
    """Read a YAML file of ``key: value`` lines; ``example`` is such a line, for the error message.

    Raises:
        CanonbenchError: the file cannot be read, is not YAML (``file:line`` is named), or is not a mapping.
    """
    content = parse_yaml(read_text(path, largest=LARGEST_YAML), str(path))
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path}: must hold 'key: value' lines, such as '{example}'")
    return content


def parse_yaml(text: str, place: str) -> Any:
    """Parse YAML text; a CanonbenchError names ``place`` and line."""
    try:
        content = yaml.load(text, _StrictLoader)
        _check(content, foreign=False)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f":{mark.line + 1}" if mark else ""
        raise CanonbenchError(f"{place}{line}: not valid YAML: {problem or _one_line(error)}") from error
    except RecursionError as error:
        raise CanonbenchError(f"{place}: {_too_deep()}") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # raised by PyYAML's constructors, for example for "2025-02-31" or "!!int x"
        raise CanonbenchError(f"{place}: not valid YAML: {_one_line(error)}") from error
    return content


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys, deep nesting and aliases that expand beyond ``MOST_NODES``."""

    depth = 0

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _expanded(node, {}) > MOST_NODES:
            raise yaml.MarkedYAMLError(problem="its aliases (*name) stand for too much", problem_mark=node.start_mark)
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            mark = event.start_mark
            raise yaml.MarkedYAMLError(problem=str(_too_deep()), problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[Hashable] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) and key.tag != MERGE else key
            if name in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(name)
        return node


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """Count the values of a node with aliases expanded; more than MOST_NODES if it contains itself."""
    if id(node) not in sizes:
        sizes[id(node)] = MOST_NODES + 1
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for each in below for part in (each if isinstance(each, tuple) else (each,))]
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in parts)
    return sizes[id(node)]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class Problem(NamedTuple):
    """One validation error of a record; its ``str`` is ``place: message``."""

    place: str
    """The field, such as ``tasks.country.val``; empty for the record as a whole."""
    message: str
    cause: BaseException | None
    """The exception raised by a validator, if any."""

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.place}: {self.message}" if self.place else self.message


def problems(error: ValidationError) -> list[Problem]:
    """Convert each error that pydantic found to a ``Problem``."""
    return [_problem(each) for each in error.errors(include_url=False)]


def _problem(found: Any) -> Problem:
    cause = found.get("ctx", {}).get("error")
    message = "missing" if found["type"] == "missing" else found["msg"]
    if isinstance(cause, Exception):
        message = str(cause)
    nested = cause.args[0] if isinstance(cause, ValueError) and cause.args else cause  # ValueError(UsageError(...))
    cause = nested if isinstance(nested, BaseException) else cause
    return Problem(".".join(map(str, found["loc"])), " ".join(message.split()), cause)


def validated(model: type[Model], content: Any, place: str | Path) -> Model:
    """Validate ``content`` as a record of type ``model``.

    Raises:
        CanonbenchError: it is not valid; the line names ``place``, the first problem and how many more there are.
            UsageError if a validator raised one.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first, *others = problems(error)
        more = f" (and {len(others)} more)" if others else ""
        kind = UsageError if isinstance(first.cause, UsageError) else CanonbenchError
        raise kind(f"{place}: {first}{more}") from error
