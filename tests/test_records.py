"""Files that are read: what is refused everywhere, in one line that names the place; and files that are written."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import file_hash, read_text, write_whole
from canonbench.records import DEEPEST, parse_json, parse_yaml, read_json, read_jsonl, read_yaml, validated, write_jsonl

SMALL = 5  # seconds; whatever is refused is refused at once


def refused(read: Callable[[], Any], kind: type[CanonbenchError] = CanonbenchError) -> str:
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        read()
    assert time.monotonic() - start < SMALL
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("read", [read_text, file_hash, read_json, read_jsonl, lambda path: read_yaml(path, "a: 1")])
def test_what_is_no_regular_file_is_refused_at_once(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null")):
        assert refused(lambda path=path: read(path)) == f"cannot read {path}: it is not a regular file"
    assert refused(lambda: read(tmp_path)) == f"cannot read {tmp_path}: Is a directory"
    assert "File name too long" in refused(lambda: read(Path("/" + 300 * "x")))
    assert "No such file" in refused(lambda: read(tmp_path / "none"))
    assert "null byte" in refused(lambda: read(tmp_path / "a\0b"))


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(2**32)  # sparse
    assert "larger than 1 MiB" in refused(lambda: read_yaml(tmp_path / "large.yaml", "a: 1"))
    assert "larger than 1024 MiB" in refused(lambda: read_json(tmp_path / "large.yaml"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_utf_16_is_named_and_nothing_else_passes_for_utf_8(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"prefix": "a", "suffix": " é"}\n'.encode(encoding))
    says = "not UTF-8 text but UTF-16" if encoding != "utf-16-be" else "rows.jsonl:1: not"
    assert says in refused(lambda: read_jsonl(path))
    path.write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n')
    assert refused(lambda: read_jsonl(path)).endswith("rows.jsonl:2: not UTF-8 text")


JSON = {
    "cut short": ('{"a": 1', "place:1:8: not valid JSON (Expecting ',' delimiter)"),
    "a key twice": ('{"a": {"b": 1, "c": 2, "b": 3}}', "place: the key 'b' is given twice"),
    "deep": ("[" * 100_000, f"place: nested more than {DEEPEST} levels deep"),
    "deeper than anything of ours": (
        "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2),
        f"place: nested more than {DEEPEST} levels deep",
    ),
    "a long number": ('{"a": ' + "9" * 5000 + "}", "place: a number has too many digits"),
    "a number that is no float": ('{"a": ' + "9" * 400 + "}", "place: a number has too many digits"),
    "NUL": (r'{"a": "x\u0000y"}', r"place: a NUL character in 'x\x00y'"),
    "half a character": (r'{"\ud800": 1}', r"place: half a character (a lone surrogate) in '\ud800'"),
    "a BOM": ("\ufeff{}", "place: begins with a byte order mark (BOM)"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_that_is_refused(name: str, tmp_path: Path) -> None:
    text, says = JSON[name]
    assert refused(lambda: parse_json(text, "place")).startswith(says)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + text.removeprefix("\ufeff") + "\n", encoding="utf-8")
    if name != "a BOM":
        assert refused(lambda: read_jsonl(path)).startswith(f"{path}:2: ")


def test_other_programs_files_may_repeat_keys_and_hold_nul(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(r'{"a": 1, "a": {"\u0000": 2}}', encoding="utf-8")
    assert read_json(path, foreign=True) == {"a": {"\0": 2}}
    path.write_text("[" * 100_000, encoding="utf-8")
    assert "levels deep" in refused(lambda: read_json(path, foreign=True))


def test_jsonl_names_the_line_and_leaves_u2028_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x\u2028y"}\r\n{"a": 2}', encoding="utf-8")
    assert read_jsonl(path) == [{"a": "x\u2028y"}, {"a": 2}]
    path.write_text("", encoding="utf-8")
    assert read_jsonl(path) == []
    for text, says in (
        ("{}\n\n{}\n", ":2: an empty line"),
        ("{}\n[1]\n", ":2: a row must be"),
        ("null\n", ":1: a row"),
    ):
        path.write_text(text, encoding="utf-8")
        assert refused(lambda: read_jsonl(path)).startswith(f"{path}{says}")


YAML = {
    "a key twice": ("a: 1\nb:\n  c: 1\n  c: 2\n", "place:4: not valid YAML: the key 'c' is given twice"),
    "deep flow": ("a: " + "[" * 50_000, "place:1: not valid YAML: nested more than"),
    "deep block": ("".join(" " * n + "a:\n" for n in range(300)), "place:64: not valid YAML: nested more than"),
    "aliases by the billion": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{c}: &{c} [{', '.join([f'*{b}'] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)),
        "place:1: not valid YAML: its aliases",
    ),
    "merges by the billion": (
        "a: &a {x: 1}\n"
        + "".join(
            f"{c}: &{c} {{<<: [{', '.join([f'*{b}'] * 30)}]}}\n" for b, c in zip("abcdef", "bcdefg", strict=True)
        ),
        "place:1: not valid YAML: its aliases",
    ),
    "itself": ("a: &a [*a]", "place:1: not valid YAML: its aliases"),
    "no such day": ("a: 2025-02-31", "place: not valid YAML: "),
    "no number": ("a: !!int ''", "place: not valid YAML: "),
    "no truth": ("a: !!bool maybe", "place: not valid YAML: "),
    "no time": ("a: !!timestamp x", "place: not valid YAML: "),
    "a tag": ("a: !!python/object:os.system x", "place:1: not valid YAML: could not determine a constructor"),
    "a long number": ("a: " + "9" * 5000, "place: not valid YAML: "),
    "a long hexadecimal number": ("a: 0x" + "f" * 5000, "place: not valid YAML: a number has too many digits"),
    "NUL": (r'a: "x\0y"', "place: not valid YAML: a NUL character"),
    "half a character": (r'a: "\ud800"', "place: not valid YAML: half a character"),
    "a list as a key": ("? [1]\n: 2\n", "place:1: not valid YAML: found unhashable key"),
}


@pytest.mark.parametrize("name", YAML)
def test_yaml_that_is_refused(name: str) -> None:
    text, says = YAML[name]
    assert refused(lambda: parse_yaml(text, "place")).startswith(says)


def test_aliases_and_merges_that_people_write_are_read() -> None:
    text = "a: {x: &q {<<: &z {k: 0, l: 1}, k: 1}}\nb: {<<: *q, l: 2}\nc: [*z, *z]\n"
    assert parse_yaml(text, "place") == {
        "a": {"x": {"k": 1, "l": 1}},
        "b": {"k": 1, "l": 2},
        "c": [{"k": 0, "l": 1}, {"k": 0, "l": 1}],
    }


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Outer(BaseModel):
    parts: list[Inner]
    name: str

    @model_validator(mode="after")
    def _named(self) -> Outer:
        if self.name == "usage":
            raise ValueError(UsageError("call it something else"))
        return self


@pytest.mark.parametrize(
    ("content", "kind", "line"),
    [
        ({"parts": [{"size": "x"}], "name": "a"}, CanonbenchError, "f: parts.0.size: Input should be a valid integer"),
        ({"parts": [{}]}, CanonbenchError, "f: parts.0.size: missing (and 1 more)"),
        ({"parts": [], "name": "usage"}, UsageError, "f: call it something else"),
        ([], CanonbenchError, "f: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_a_record_is_said_once_in_one_way(content: Any, kind: Any, line: str) -> None:
    message = refused(lambda: validated(Outer, content, "f"), kind)
    assert message.startswith(line)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")

    def break_off(part: Path) -> None:
        part.write_text("ha")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_whole(path, break_off)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]
    write_jsonl(path, [{"a": 1}, {"b": "é"}])
    assert path.read_text() == '{"a": 1}\n{"b": "\\u00e9"}\n'
    write_whole(path, lambda part: part.write_bytes(b"\0"))
    assert path.read_bytes() == b"\0"
    long = tmp_path / ("x" * 250)
    write_whole(long, "its name has room for nothing more")
    assert long.is_file()


def test_what_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    assert "it is not a regular file" in refused(lambda: write_whole(Path("/dev/full"), "x"))
    assert "No such file or directory" in refused(lambda: write_whole(tmp_path / "none" / "x", "x"))

    def full(part: Path) -> None:
        part.symlink_to("/dev/full")
        part.write_text("x")

    message = refused(lambda: write_whole(tmp_path / "file", full))
    assert message.endswith(
        "No space left on device; nothing written before is lost: make room and run the same command again"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, done = tmp_path / "file", threading.Event()
    write_whole(path, b"a" * 100_000)

    def write() -> None:
        for number in range(30):
            write_whole(path, (b"a", b"b")[number % 2] * 100_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        content = path.read_bytes()
        assert len(content) == 100_000
        assert len(set(content)) == 1
    writer.join()
