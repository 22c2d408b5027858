from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import worked_out
from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.aggregate import aggregate
from canonbench.results.aggregate_edits import EditAggregates, aggregate_edits
from canonbench.results.row import Row
from canonbench.results.row_results import LeagueTask
from canonbench.scoring.intervals import ratio, success_change, t_975
from canonbench.scoring.protocol import PROTOCOLS, protocol_from_mapping
from worked_out import CHOICES, REPORTED, columns, country, edit_rows, gender

PROTOCOL = PROTOCOLS["canonbench-1"]


def compute(examples: Any, asked: dict[str, Any], **changes: Any) -> EditAggregates:
    given_ = {"protocol": PROTOCOL, "choices": CHOICES, "reported": REPORTED, **asked, **changes}
    return aggregate_edits(examples, **given_)


@pytest.fixture
def table() -> dict[str, Any]:
    return columns(edit_rows())


def only(task: str, asked: dict[str, Any], league: str, taken: dict[int, int]) -> dict[str, Any]:
    """What is asked of one task in one league."""
    return {
        **asked,
        "tasks": {task: asked["tasks"][task]},
        "choices": {league: {task: taken}},
        "reported": {league: {task: max(taken.values())}},
    }


def test_a_task_over_two_seeds_is_the_numbers_worked_out_by_hand(table: dict[str, Any], asked: dict[str, Any]) -> None:
    found = compute(table, asked).leagues["1e-3"].tasks["country"]
    # At least 20 % on the capital: base 0.30 and 0.25 of four rows; seed 0 gains France's first (75 %), seed 1 loses
    # France's second and gains Peru's (50 %). Mean 62.5; standard deviation 25/√2, over √2 seeds: 12.5.
    # The interval is of the rows' changes, means over seeds.
    rows = success_change([0, 0, 0, 0], [50, -50, 50, 0], ["France", "France", "Peru", "Chad"])
    assert found.success.model_dump() == {
        "base": 50.0,
        "edited": 62.5,
        "delta": 12.5,
        "ci": rows and pytest.approx(rows.interval),
    }
    assert (found.n, found.n_subjects, found.standard_error) == (4, 3, 12.5)
    # Without Peru's row, which the audit flagged: base 2 of 3, seed 0 all 3, seed 1 Chad's alone.
    assert found.clean is not None
    assert found.clean.model_dump() == {"base": 66.666667, "edited": 66.666667, "delta": 0.0, "n": 3}
    # Hard negatives: base (2 + 3)/2; seed 0 (2.5 + 3.5)/2, seed 1 (2 + 4)/2. Rows' means rose by 0.25 and 0.75:
    # SE 0.25, strongest pull 0.125, one degree of freedom.
    margin = t_975(1) * math.hypot(0.25, 0.125)
    hard = {"base": 2.5, "edited": 3.0, "delta": 0.5, "ci": pytest.approx((0.5 - margin, 0.5 + margin), abs=1e-6)}
    hard |= {"n": 2, "n_subjects": 2}
    assert found.hard_negatives is not None
    assert found.hard_negatives.model_dump() == hard
    # Ratios 120.06/120 and 120.12/120; the interval is of the chunks' means over seeds.
    assert (found.ratio, found.membership, found.candidate, found.straddles) == (1.00075, "in", 3, True)
    chunks = ratio([30, 90], [30.045, 90.045])
    assert chunks is not None
    assert found.ratio_ci == pytest.approx(chunks.interval, abs=1e-9)
    # The second seed's ratio lies on the line, within the noise floor of 30.00003/30 - 1 = 1e-6.
    assert [each.model_dump() for each in found.seeds or ()] == [
        {"seed": 0, "candidate": 2, "success": 75.0, "ratio": 1.0005, "membership": "in"},
        {"seed": 1, "candidate": 1, "success": 50.0, "ratio": 1.001, "membership": "uncertain"},
    ]


def test_a_seed_that_took_the_unedited_model_counts_with_the_bases_numbers(
    table: dict[str, Any], asked: dict[str, Any]
) -> None:
    found = compute(table, asked).leagues["1e-4"].tasks["gender"]
    # Within ln 1.5 = 0.405: base 0.2 yes and 2.0 no; seed 0 0.1 and 0.3, both; seed 1 is the base.
    # Janitor +100/2, nurse 0. Standard deviation 50/√2, over √2: 25.
    assert found.success.model_dump() == {"base": 50.0, "edited": 75.0, "delta": 25.0, "ci": (-100.0, 100.0)}
    assert (found.standard_error, found.ratio, found.membership) == (25.0, 1.000025, "in")
    assert found.hard_negatives is not None
    assert (found.hard_negatives.edited, found.hard_negatives.ci) == (1.05, (0.049999, 0.050001))
    assert [each.model_dump() for each in found.seeds or ()] == [
        {"seed": 0, "candidate": 1, "success": 100.0, "ratio": 1.00005, "membership": "in"},
        {"seed": 1, "candidate": None, "success": 50.0, "ratio": 1.0, "membership": "in"},
    ]


def test_a_task_that_stayed_unedited_changed_by_nothing(table: dict[str, Any], asked: dict[str, Any]) -> None:
    found = compute(table, asked).leagues["1e-4"].tasks["country"]
    assert found.success.model_dump() == {"base": 50.0, "edited": 50.0, "delta": 0.0, "ci": None}
    assert found.hard_negatives is not None
    assert (found.hard_negatives.delta, found.hard_negatives.ci) == (0.0, None)
    assert (found.standard_error, found.ratio, found.ratio_ci, found.straddles) == (0.0, 1.0, None, None)
    assert found.candidate is None
    assert [(each.candidate, each.success, each.ratio) for each in found.seeds or ()] == [(None, 50.0, 1.0)] * 2


def test_no_noise_floor_makes_the_unedited_models_membership_uncertain(
    table: dict[str, Any], asked: dict[str, Any]
) -> None:
    table["base_again_log_p_a"] = np.where(table["index"] == 0, table["base_again_log_p_a"] - 0.006, np.nan)
    league = compute(table, asked).leagues["1e-4"]  # the noise floor is 2e-4 now
    assert league.tasks["country"].membership == "in"
    assert league.tasks["gender"].membership == "uncertain"
    assert [each.membership for each in league.tasks["gender"].seeds or ()] == ["uncertain", "in"]


def test_the_average_is_the_mean_over_tasks_of_the_means_over_seeds(
    table: dict[str, Any], asked: dict[str, Any]
) -> None:
    average = compute(table, asked).leagues["1e-3"].average
    assert (average.tasks, average.n_tasks, average.complete) == (("country", "gender"), 2, False)
    # (62.5 + 75)/2.
    assert (average.success.base, average.success.edited, average.success.delta) == (50.0, 68.75, 18.75)
    assert average.clean is not None
    assert (average.clean.base, average.clean.edited) == (58.333333, 70.833333)
    # Hard negatives (3 + 1.05)/2 against (2.5 + 1)/2.
    assert average.hard_negatives is not None
    assert (average.hard_negatives.base, average.hard_negatives.edited) == (1.75, 2.025)


def test_general_text_is_the_bases_alone(table: dict[str, Any], asked: dict[str, Any]) -> None:
    assert compute(table, asked).general.model_dump() == {
        "name": "openwebtext-100",
        "data_hash": "9" * 64,
        "n_chunks": 2,
        "n_tokens": 40,
        "base": 3.0,
        "edited": None,
        "ratio": None,
        "ratio_ci": None,
        "straddles": None,
        "noise_floor": 1e-6,
        "leagues": {"1e-3": None, "1e-4": None, "1e-5": None},
    }


def random_rows(seed: int) -> worked_out.Rows:
    """The base and two candidates with random scores."""
    random = np.random.default_rng(seed)

    def candidate(taken: tuple[int, int]) -> worked_out.Rows:
        p, pairs = random.uniform(0.01, 1, 4), random.uniform(-2, 0, (2, 2))
        hard, text = random.uniform(0, 3, (2, 2)), np.array(worked_out.TEXT) * random.uniform(0.999, 1.003, (2, 2))
        return [
            *country(taken, tuple(p), tuple(hard[0]), tuple(text[0])),
            *gender(taken, tuple(map(tuple, pairs)), tuple(hard[1]), tuple(text[1])),
        ]

    base = [row for row in edit_rows() if not row["candidate"]]
    return [*base, *candidate((0, 1)), *candidate((3, 2))]


def as_fixed(rows: worked_out.Rows, taken: tuple[int, int]) -> dict[str, Any]:
    """One candidate's rows as the examples of a fixed checkpoint."""
    chosen = [row for row in rows if (row["seed"], row["candidate"]) == taken]
    return columns([{**row, "task": ""} if row["part"] == "general" else row for row in chosen])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), task=st.sampled_from(["country", "gender"]))
def test_one_seed_of_one_task_has_the_numbers_of_the_same_fixed_checkpoint(
    asked: dict[str, Any], seed: int, task: str
) -> None:
    rows = [row for row in random_rows(seed) if row["task"] == task]
    edit = compute(columns(rows), only(task, asked, "1e-3", {3: 2}))
    fixed = aggregate(as_fixed(rows, (3, 2)), **{**asked, "tasks": {task: asked["tasks"][task]}}, protocol=PROTOCOL)
    league = edit.leagues["1e-3"]
    found = league.tasks[task]
    assert fixed.tasks[task].model_dump() == found.model_dump(include=set(fixed.tasks[task].model_dump()))
    assert fixed.average == league.average
    assert fixed.general is not None
    assert (fixed.general.ratio, fixed.general.ratio_ci) == (found.ratio, found.ratio_ci)
    assert fixed.general.leagues["1e-3"] == found.membership
    assert (fixed.general.base, fixed.general.noise_floor) == (edit.general.base, edit.general.noise_floor)
    assert found.standard_error is None


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(edit_rows()))))
def test_the_order_of_the_rows_does_not_matter(table: dict[str, Any], asked: dict[str, Any], order: list[int]) -> None:
    shuffled = {name: values[order] for name, values in table.items()}
    assert compute(shuffled, asked) == compute(table, asked)


def test_a_league_has_the_same_numbers_whichever_others_there_are(table: dict[str, Any], asked: dict[str, Any]) -> None:
    both = compute(table, asked)
    for label in CHOICES:
        alone = compute(table, asked, choices={label: CHOICES[label]}, reported={label: REPORTED[label]})
        assert alone.leagues == {label: both.leagues[label]}
        assert alone.general == both.general


def test_a_task_has_the_same_numbers_whichever_others_were_edited(table: dict[str, Any], asked: dict[str, Any]) -> None:
    rows = [row for row in edit_rows() if row["task"] == "gender"]
    alone = compute(columns(rows), only("gender", asked, "1e-3", {0: 1, 1: 0}))
    assert alone.leagues["1e-3"].tasks["gender"] == compute(table, asked).leagues["1e-3"].tasks["gender"]


def test_leagues_stand_in_the_protocols_order_and_seeds_in_their_own(
    table: dict[str, Any], asked: dict[str, Any]
) -> None:
    backwards = {
        label: {task: dict(reversed(taken.items())) for task, taken in CHOICES[label].items()}
        for label in reversed(CHOICES)
    }
    found = compute(table, asked, choices=backwards)
    assert found == compute(table, asked)
    assert list(found.leagues) == ["1e-3", "1e-4"]


def test_a_candidate_that_no_league_took_changes_nothing(table: dict[str, Any], asked: dict[str, Any]) -> None:
    more = country((1, 3), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0), (10.0, 10.0))
    assert compute(columns(edit_rows() + more), asked) == compute(table, asked)


def test_a_parquet_file_on_disk_gives_the_same_numbers(
    table: dict[str, Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "examples.parquet"
    pq.write_table(pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()}), path)
    assert compute(pq.read_table(path), asked) == compute(table, asked)


def test_a_protocols_threshold_and_leagues_are_used(asked: dict[str, Any]) -> None:
    lax = protocol_from_mapping({"name": "half", "thresholds": {"country": math.log(2)}, "leagues": [0.0007]})
    rows = [row for row in edit_rows() if row["task"] == "country"]
    given_ = only("country", asked, "0.0007", {0: 2, 1: 1})
    found = compute(columns(rows), given_, protocol=lax).leagues["0.0007"].tasks["country"]
    # At least 50 % on the capital: only seed 0's first row. The mean ratio of 1.00075 is outside.
    assert (found.success.edited, found.membership, found.threshold) == (12.5, "out", math.log(2))


def test_tasks_without_hard_negatives_say_null(table: dict[str, Any], asked: dict[str, Any]) -> None:
    rows = [row for row in edit_rows() if (row["task"], row["part"]) != ("gender", "hard_negatives")]
    league = compute(columns(rows), asked).leagues["1e-3"]
    assert league.tasks["gender"].hard_negatives is league.average.hard_negatives is None
    assert league.tasks["country"].hard_negatives is not None


def test_a_row_of_these_numbers_passes_its_own_checks_and_comes_back_from_disk(
    table: dict[str, Any], asked: dict[str, Any], edit_run: dict[str, Any], tmp_path: Path
) -> None:
    found = compute(table, asked)
    row = Row.model_validate({**edit_run, "general": found.general, "leagues": found.leagues})
    row.write(tmp_path / "row.json")
    again = Row.read(tmp_path / "row.json")
    assert again == row
    assert again.leagues is not None
    assert again.leagues == found.leagues
    assert isinstance(again.leagues["1e-3"].tasks["country"], LeagueTask)


def test_one_chunk_and_one_subject_leave_the_intervals_out_and_the_row_accepts_it(
    asked: dict[str, Any], edit_run: dict[str, Any]
) -> None:
    rows = [row for row in edit_rows() if row["task"] == "gender" and row["index"] == 0]
    found = compute(columns(rows), only("gender", asked, "1e-3", {0: 1}))
    gender_ = found.leagues["1e-3"].tasks["gender"]
    assert (gender_.success.ci, gender_.ratio_ci, gender_.standard_error) == (None, None, None)
    Row.model_validate({**edit_run, "general": found.general, "leagues": found.leagues})


def spoil(column: str, value: Any, **where: Any) -> Any:
    """Put another value into the first row found."""

    def change(rows: worked_out.Rows) -> None:
        next(row for row in rows if all(row[key] == wanted for key, wanted in where.items()))[column] = value

    return change


def leave_out(**where: Any) -> Any:
    def change(rows: worked_out.Rows) -> None:
        rows[:] = [row for row in rows if any(row[key] != wanted for key, wanted in where.items())]

    return change


def unedit(rows: worked_out.Rows) -> None:
    row = next(row for row in rows if row["candidate"] == 0)
    row |= {"edited_log_p_a": -0.5, "edited_loss": 0.5}


def rebase(rows: worked_out.Rows) -> None:
    row = next(row for row in rows if row["candidate"] == 2)
    row |= {"base_log_p_a": -0.5, "base_loss": 0.5}


def other_text(rows: worked_out.Rows) -> None:
    for row in rows:
        if (row["task"], row["part"], row["index"]) == ("gender", "general", 1):
            row["n_tokens_a"] = 31


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (leave_out(candidate=2), "no evaluation rows of task 'country', seed 0, candidate 2"),
        (leave_out(candidate=2, part="hard_negatives"), "no hard_negatives rows of task 'country', seed 0"),
        (leave_out(candidate=2, part="general"), "no general rows of task 'country', seed 0, candidate 2"),
        (leave_out(candidate=0, task="gender"), "no general rows of task 'gender', seed 0, candidate 0"),
        (leave_out(candidate=2, part="evaluation", index=0), "seed 0, candidate 2 differs from that of the unedited"),
        (unedit, "the unedited model's country evaluation rows differ from the base's"),
        (rebase, "base's side of country evaluation, seed 0, candidate 2 differs from that of the unedited model"),
        (spoil("n_tokens_a", 11, candidate=2, part="general"), "base's side of country general, seed 0, candidate 2"),
        (spoil("clean", False, candidate=2), "the base's side of country evaluation, seed 0, candidate 2"),
        (spoil("subject", "Mali", candidate=2), "the base's side of country evaluation, seed 0, candidate 2"),
        (other_text, "the base's general text differs between tasks 'country' and 'gender'"),
        (spoil("base_again_log_p_a", -31.0, task="gender", part="general"), "the base's general text differs"),
        (spoil("base_again_log_p_a", math.nan, part="general"), "not scored twice"),
        (spoil("base_log_p_a", math.nan, candidate=2), "country evaluation, seed 0, candidate 2: base log p_a: not"),
        (spoil("edited_loss", 0.7, candidate=2), "candidate 2: row 0 has edited_loss 0.7"),
        (spoil("index", 1, candidate=2), "country evaluation, seed 0, candidate 2: row 1 stands twice"),
        (spoil("part", "canonical"), "unexpected rows of task 'country', part 'canonical'"),
        (spoil("task", "verb"), "unexpected rows of task 'verb'"),
        (lambda rows: [row.pop("seed") for row in rows], "missing column seed"),
    ],
)  # fmt: skip
def test_examples_that_cannot_be_trusted_give_one_line_and_no_number(
    asked: dict[str, Any], spoiled: Any, message: str
) -> None:
    rows = edit_rows()
    spoiled(rows)
    with pytest.raises(CanonbenchError, match=message) as caught:
        compute(columns(rows), asked)
    assert "\n" not in str(caught.value)


def test_choices_that_do_not_fit_are_refused(table: dict[str, Any], asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"unknown league '1e-2' of protocol canonbench-1, must be one of 1e-3"):
        compute(table, asked, choices={"1e-2": CHOICES["1e-3"]}, reported={"1e-2": REPORTED["1e-3"]})
    with pytest.raises(CanonbenchError, match="league 1e-3: no choice for task 'gender'"):
        compute(table, asked, choices={"1e-3": {"country": {0: 2}}})
    with pytest.raises(CanonbenchError, match="league 1e-3: no choice for task 'gender'"):
        compute(table, asked, choices={"1e-3": {**CHOICES["1e-3"], "gender": {}}})
    with pytest.raises(CanonbenchError, match="league 1e-4: no choice for task 'country'"):
        compute(table, asked, reported={"1e-3": REPORTED["1e-3"]})
    with pytest.raises(UsageError, match="no league"):
        compute(table, asked, choices={})
    with pytest.raises(UsageError, match="no task"):
        compute(table, asked, tasks={})
