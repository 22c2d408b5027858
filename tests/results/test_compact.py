"""The examples that a row on the board keeps: few, exact, and enough for every number of the row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from canonbench.errors import CanonbenchError
from canonbench.files import file_hash
from canonbench.results.aggregate import GeneralText
from canonbench.results.aggregate_edits import aggregate_edits
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.compact import compact, read_examples, write_examples
from canonbench.results.recompute import differences
from canonbench.results.row import Row
from canonbench.scoring.protocol import PROTOCOLS
from worked_out import CHOICES, REPORTED, columns, edit_rows

TASKS = {"country": TaskSpec("nll", -math.log(0.20)), "gender": TaskSpec("balance", math.log(1.5))}


def edit_row(choices: Any = CHOICES) -> Row:
    """The row of ``worked_out``."""
    found = aggregate_edits(
        columns(edit_rows()),
        tasks=TASKS,
        protocol=PROTOCOLS["canonbench-1"],
        general=GeneralText("chunks", "9" * 64),
        choices=choices,
        reported={label: REPORTED[label] for label in choices},
    )
    model = {"name": "tiny", "source": "folder", "revision": None}
    nothing = dict.fromkeys(("submission", "examples", "limit", "tasks", "average"))
    content = {
        **{"schema": 3, "state": "measured", "provenance": {"source": "by hand", "note": None}, "flags": []},
        **{"protocol": "canonbench-1", "suite": {"name": "worked-out", "version": "1", "data_hash": "8" * 64}},
        **{"split": "test", "track": "per-task", "model": model, "base": model, "method": "by-hand"},
        **{"hyperparameters": {}, "fingerprints": {"model": None, "base": "c" * 64}, "dtype": "float32"},
        **{"device": "cpu", "versions": {"canonbench": "0"}, "seconds": 1.0, "peak_memory_bytes": 1},
    }
    return Row.model_validate(content | nothing | found._asdict())


def table(**changes: Any) -> pa.Table:
    """The examples of ``worked_out``; NaN is null."""
    return pa.table({name: pa.array(each, from_pandas=True) for name, each in (columns(edit_rows()) | changes).items()})


def test_what_is_written_and_read_again_gives_every_number_of_the_row(tmp_path: Path) -> None:
    row = edit_row()
    path = write_examples(compact(table(), row), tmp_path)
    assert differences(row, read_examples(path)) == []
    assert path.name == f"examples-{file_hash(path)[:12]}.parquet"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_order_of_the_rows_and_columns_that_no_number_needs_change_nothing(tmp_path: Path) -> None:
    row, shuffled = edit_row(), columns(list(reversed(edit_rows())))
    extra = {"n_tokens_b": [7] * len(shuffled["task"]), "text": ["an evaluation prefix"] * len(shuffled["task"])}
    other = pa.table({name: pa.array(each, from_pandas=True) for name, each in (shuffled | extra).items()})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [write_examples(compact(each, row), tmp_path / name) for each, name in ((table(), "a"), (other, "b"))]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_only_what_some_league_took_is_kept_beside_the_unedited_model() -> None:
    kept = compact(table(), edit_row({"1e-4": CHOICES["1e-4"]}))
    assert set(zip(*(kept.column(name).to_pylist() for name in ("task", "seed", "candidate")), strict=True)) == {
        ("country", 0, 0),
        ("gender", 0, 0),
        ("gender", 0, 1),
    }


def test_a_number_that_does_not_follow_is_named_with_what_follows() -> None:
    row = edit_row()
    content = row.model_dump(mode="json", by_alias=True)
    success = content["leagues"]["1e-3"]["tasks"]["country"]["success"]
    success["edited"] += 25.0
    success["delta"] += 25.0
    said = success["edited"]
    (first, *_) = differences(Row.model_validate_json(json.dumps(content)), table())
    place = "leagues.1e-3.tasks.country.success.edited"
    assert first == f"{place}: {said} in the row, {said - 25.0} from its examples"


def test_a_protocol_from_a_file_cannot_be_checked_so_it_is_refused() -> None:
    row = edit_row().model_copy(update={"protocol": "mine@1a2b3c4d"})
    with pytest.raises(CanonbenchError, match="protocol 'mine@1a2b3c4d' is not a standard one"):
        differences(row, table())


def test_examples_that_lack_a_column_or_are_no_parquet_are_named(tmp_path: Path) -> None:
    with pytest.raises(CanonbenchError, match="missing column clean"):
        compact(table().drop_columns(["clean"]), edit_row())
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(CanonbenchError, match=r"cannot read .*x\.parquet"):
        read_examples(tmp_path / "x.parquet")
