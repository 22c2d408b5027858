from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from canonbench.results.aggregate import aggregate
from canonbench.results.row import Row
from canonbench.results.rows import json_schema, schema_text
from canonbench.scoring.protocol import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]
RENEW = "python -c 'from canonbench.results import schema_text; print(end=schema_text())' > datasets/row.schema.json"


def test_the_published_schema_is_the_one_of_this_code() -> None:
    published = (ROOT / "datasets" / "row.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), f"stale; renew it with: {RENEW}"


@pytest.mark.parametrize("kind", ["fixed", "alone", "edit_run", "reported"])
def test_every_kind_of_row_satisfies_the_schema_as_written(kind: str, request: pytest.FixtureRequest) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    row = Row.model_validate(request.getfixturevalue(kind))
    validator.validate(json.loads(row.to_json()))


@pytest.mark.parametrize(
    ("place", "value"),
    [(["schema"], 4), (["misspelt"], 1), (["tasks", "country", "success", "ci"], [1.0]), (["split"], "train"),
     (["tasks", "country", "n"], 0), (["general", "leagues", "1e-3"], "maybe"), (["model", "source"], "ftp")],
)  # fmt: skip
def test_the_schema_refuses_what_the_row_refuses(fixed: dict[str, Any], place: list[str], value: Any) -> None:
    changed = copy.deepcopy(fixed)
    part = changed
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, json_schema())


def test_computed_parts_make_a_row(fixed: dict[str, Any], examples: dict[str, Any], asked: dict[str, Any]) -> None:
    computed = aggregate(examples, protocol=PROTOCOLS["canonbench-1"], **asked)
    row = Row.model_validate({**fixed, **computed._asdict()})
    jsonschema.validate(json.loads(row.to_json()), json_schema())


def keys(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for definition in [schema, *schema["$defs"].values()]:
        yield from definition.get("properties", {}).items()


def test_every_field_has_its_line_of_documentation() -> None:
    assert [name for name, field in keys(json_schema()) if not field.get("description")] == []


def test_the_page_about_rows_names_every_key() -> None:
    page = (ROOT / "docs/reference/row.md").read_text(encoding="utf-8")
    assert [name for name, _ in keys(json_schema()) if f"`{name}`" not in page] == []


def test_the_example_on_the_page_about_rows_is_a_row(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/row.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0]
    (tmp_path / "row.json").write_text(example, encoding="utf-8")
    assert json.loads(Row.read(tmp_path / "row.json").to_json()) == json.loads(example)
