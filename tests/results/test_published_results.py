"""The papers' results on the board: every released number is there, and the averages are the papers'."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from canonbench.board.board import board
from canonbench.results.reported import EVALUATION_ROWS, HARD_NEGATIVE_ROWS
from canonbench.results.row import Row
from canonbench.results.row_results import LeagueTask
from canonbench.results.rows import read_rows_file

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "datasets" / "reported"
PUBLISHED = ROOT / "datasets" / "published"
LABELS = {0.001: "1e-3", 0.0001: "1e-4", 0.00001: "1e-5"}
GPTJ = "EleutherAI/gpt-j-6b"
BACKPACK = "stanfordnlp/backpack-gpt2"

Find = Callable[[str, str, str], Row]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "write_reported_rows.py"))


@pytest.fixture(scope="module")
def rows(script: dict[str, Any]) -> list[Row]:
    return [row for _, row in read_rows_file(script["ROWS"])]


@pytest.fixture(scope="module")
def find(rows: list[Row]) -> Find:
    """The one row of a paper (``released`` or ``workshop``), a model and a method."""

    def found(paper: str, model: str, method: str) -> Row:
        version = {"released": "15a1e7b0c726", "workshop": "workshop-2023"}[paper]
        (row,) = [r for r in rows if (r.suite.version, r.model.name, r.method) == (version, model, method)]
        return row

    return found


@pytest.fixture(scope="module")
def facts() -> list[dict[str, Any]]:
    lines = (FACTS / "hewitt2024-results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def tables() -> Any:
    text = (FACTS / "hewitt2024-workshop-tables.json").read_text(encoding="utf-8")
    return json.loads(text, parse_float=Decimal)  # a mean of printed numbers may lie halfway between two of them


def task_of(row: Row, league: str, task: str) -> LeagueTask:
    assert row.leagues is not None
    return row.leagues[league].tasks[task]


def average_delta(row: Row, league: str) -> float:
    assert row.leagues is not None
    delta = row.leagues[league].average.success.delta
    assert delta is not None
    return delta


def test_the_rows_are_what_the_script_writes(script: dict[str, Any], rows: list[Row]) -> None:
    assert script["reported_rows"]() == rows, "run scripts/write_reported_rows.py"


def test_every_released_result_is_on_the_board_with_its_error(facts: list[dict[str, Any]], find: Find) -> None:
    places = {(fact["model"], fact["method"], fact["task"], fact["league"]) for fact in facts}
    assert len(places) == len(facts) == 558
    for fact in facts:
        row = find("released", fact["model"], fact["method"])
        task = task_of(row, LABELS[fact["league"]], fact["task"])
        if fact["success"] is not None:
            assert task.success.base == pytest.approx(100 * fact["initial_success"], abs=1e-6)
            assert task.success.edited == pytest.approx(100 * fact["success"], abs=1e-6)
            assert task.success.delta == pytest.approx(fact["delta_points"], abs=1e-4)  # rounded to four decimals there
            single = fact.get("n_in_league") == 1  # one run has no spread; the release says 0
            error = None if single else pytest.approx(fact["se_points"], abs=1e-6)
            assert task.standard_error == error
        assert row.dtype == {"bfloat16+float32": "bfloat16"}.get(fact["dtype"], fact["dtype"])
        assert fact["source"].removeprefix("hewitt2024:").split("+")[0] in row.provenance.source


def test_gpt_j_at_the_tightest_league_has_the_papers_averages(facts: list[dict[str, Any]], find: Find) -> None:
    for method, printed in (("backpack-sense-ensemble", 4.14), ("lora", 1.02)):
        deltas = [
            each["delta_points"]
            for each in facts
            if (each["model"], each["method"], each["league"]) == (GPTJ, method, 1e-5)
        ]
        assert len(deltas) == 6
        assert round(sum(deltas) / 6, 2) == printed
        assert round(average_delta(find("released", GPTJ, method), "1e-5"), 2) == printed


def test_an_average_is_the_mean_of_six_deltas_with_missing_ones_as_zero(
    facts: list[dict[str, Any]], find: Find
) -> None:
    sums: dict[tuple[str, str, float], float] = {}
    for fact in facts:
        key = (fact["model"], fact["method"], fact["league"])
        sums[key] = sums.get(key, 0.0) + (fact["delta_points"] or 0.0)
    for (model, method, league), total in sums.items():
        row = find("released", model, method)
        assert average_delta(row, LABELS[league]) == pytest.approx(total / 6, abs=1e-4)


def test_a_missing_result_is_the_unedited_model_and_is_named(
    facts: list[dict[str, Any]], rows: list[Row], find: Find
) -> None:
    missing = [fact for fact in facts if fact["success"] is None]
    assert len(missing) == 28
    assert {fact["method"] for fact in missing} == {"memit-prefix", "memit-oracle"}
    for fact in missing:
        row, label = find("released", fact["model"], fact["method"]), LABELS[fact["league"]]
        task = task_of(row, label, fact["task"])
        assert task.success.base == task.success.edited == task_of(row, "1e-3", fact["task"]).success.base
        assert (task.success.delta, task.ratio, task.standard_error) == (0, 1, 0)
        named = str(row.provenance.note).split("the unedited model counts (Δ = 0): ")[1].split(".")[0]
        (at_this_league,) = [part for part in named.split("; ") if part.startswith(f"at {label} ")]
        assert fact["task"] in at_this_league.split(" ", 2)[2].split(", ")
    assert sum(task.ratio == 1 for row in rows for task in _tasks(row)) == len(missing)  # no other cell passes for one


def test_a_mean_over_fewer_runs_says_over_how_many(find: Find) -> None:
    note = find("released", "EleutherAI/pythia-410m", "memit-prefix").provenance.note
    assert note is not None
    assert "at 1e-4 gender 2 of 5; at 1e-5 country 4 of 5, company 2 of 5, gender 4 of 5, verb 2 of 5." in note


def test_only_what_edits_a_broken_base_is_unreliable(rows: list[Row]) -> None:
    flagged = {(row.model.name, row.method) for row in rows if row.flags}
    models = ("EleutherAI/pythia-70m", "EleutherAI/pythia-160m")
    assert flagged == {(model, method) for model in models for method in ("full", "lora")}
    assert {flag.name for row in rows for flag in row.flags} == {"unreliable"}


def test_memit_with_the_prefix_as_subject_tells_of_its_wrong_selection(rows: list[Row]) -> None:
    said = {row.method for row in rows if "selected on the wrong loss at val" in str(row.provenance.note)}
    assert said == {"memit-prefix"}


def test_the_workshops_averages_for_senses_come_out_as_printed(tables: Any, find: Find) -> None:
    row = find("workshop", BACKPACK, "senses")
    for label, printed in (("1e-3", "10.9"), ("1e-4", "7.2"), ("1e-5", "4.3")):
        cells = [line["delta"][label]["senses"] for line in six(tables["success_percent"][BACKPACK])]
        assert (sum(cells) / 6).quantize(Decimal("0.1"), ROUND_HALF_UP) == Decimal(printed)
        assert average_delta(row, label) == pytest.approx(float(sum(cells) / 6), abs=1e-6)


@pytest.mark.parametrize("kind", ["success_percent", "hard_negative_nats"])
def test_every_workshop_average_is_the_printed_one_up_to_rounding(kind: str, tables: Any, find: Find) -> None:
    """The authors averaged numbers with more digits, so where our mean lies halfway they may have gone either way."""
    for model, lines in tables[kind].items():
        (printed,) = [line for line in lines if line["task"] == "average"]
        last_digit = Decimal(1).scaleb(min(line["initial"].as_tuple().exponent for line in lines))
        for label, by_method in printed["delta"].items():
            for method, value in by_method.items():
                mean = sum(line["delta"][label][method] for line in six(lines)) / 6
                assert abs(mean - value) <= last_digit / 2
                row = find("workshop", model, method.replace("backpack-ens", "backpack-sense-ens"))
                assert row.leagues is not None
                average = row.leagues[label].average
                ours = average.success if kind == "success_percent" else average.hard_negatives
                assert ours is not None
                assert ours.delta == pytest.approx(float(mean), abs=1e-6)


def test_a_workshop_cell_is_the_printed_one(find: Find) -> None:
    task = task_of(find("workshop", BACKPACK, "senses"), "1e-3", "country")
    assert (task.success.base, task.success.edited, task.success.delta) == (9.9, 25.2, 15.3)
    assert task.hard_negatives is not None
    assert (task.hard_negatives.base, task.hard_negatives.edited, task.hard_negatives.delta) == (10.8, 11.0, 0.2)
    assert task.standard_error is None


def test_the_board_shows_the_papers_averages(script: dict[str, Any]) -> None:
    def no_scores(*_: object) -> Any:
        raise AssertionError("a reported row has no per-example values")

    drawn = board(read_rows_file(script["ROWS"]), no_scores)
    assert not drawn.excluded
    shown = {
        (table.group.suite.split()[1], entry.placed.row.model.name, entry.placed.row.method, table.league): entry
        for table in drawn.tables
        for entry in table.entries
    }
    assert len(shown) == 3 * 37  # every row in every league
    papers = {
        ("15a1e7b0c726", GPTJ, "backpack-sense-ensemble", "1e-5"): 4.14,
        ("15a1e7b0c726", GPTJ, "lora", "1e-5"): 1.02,
        ("workshop-2023", BACKPACK, "senses", "1e-3"): 10.9,
        ("workshop-2023", BACKPACK, "senses", "1e-4"): 7.2,
        ("workshop-2023", BACKPACK, "senses", "1e-5"): 4.3,
    }
    for key, printed in papers.items():
        half = 0.005 if key[0] == "15a1e7b0c726" else 0.05
        assert shown[key].average.success.delta == pytest.approx(printed, abs=half + 1e-9)
    unranked = {key[1:3] for key, entry in shown.items() if entry.rank is None}
    assert unranked == {
        (f"EleutherAI/pythia-{size}", method) for size in ("70m", "160m") for method in ("full", "lora")
    }


def test_row_counts_are_those_of_the_published_files() -> None:
    """Test's evaluation rows, but val's hard negatives, as the released configurations have it."""
    manifest = json.loads((PUBLISHED / "manifest.json").read_text(encoding="utf-8"))
    rows = {file["path"]: file["rows"] for file in manifest["files"]}
    tasks = yaml.safe_load((PUBLISHED / "suite.yaml").read_text(encoding="utf-8"))["tasks"]
    assert {name: rows[task["test"]["evaluation"]] for name, task in tasks.items()} == EVALUATION_ROWS
    assert {name: rows[task["val"]["hard_negatives"]] for name, task in tasks.items()} == HARD_NEGATIVE_ROWS


def test_the_papers_share_no_ranking_with_each_other_or_with_what_was_measured(rows: list[Row]) -> None:
    groups = {(row.suite.version, row.comparable_group) for row in rows}
    assert sorted((version, group.dtype_class) for version, group in groups) == [
        ("15a1e7b0c726", "half"),
        ("workshop-2023", "float32"),
        ("workshop-2023", "half"),
    ]
    assert all(group.data_hash is None and group.protocol == "hewitt2024" for _, group in groups)


def six(lines: list[Any]) -> list[Any]:
    found = [line for line in lines if line["task"] != "average"]
    assert len(found) == 6
    return found


def _tasks(row: Row) -> list[LeagueTask]:
    assert row.leagues is not None
    return [task for league in row.leagues.values() for task in league.tasks.values()]
