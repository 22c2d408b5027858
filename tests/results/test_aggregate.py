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

from canonbench.errors import CanonbenchError, UsageError
from canonbench.results.aggregate import aggregate
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.scoring.protocol import PROTOCOLS, protocol_from_mapping

PROTOCOL = PROTOCOLS["canonbench-1"]


def compute(examples: Any, asked: dict[str, Any], **changes: Any) -> Any:
    return aggregate(examples, **{"protocol": PROTOCOL, **asked, **changes})


def kept(examples: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: values[rows] for name, values in examples.items()}


def without_base(examples: dict[str, Any]) -> dict[str, Any]:
    nothing = np.full(len(examples["index"]), np.nan)
    return {name: nothing if name.startswith("base_") else values for name, values in examples.items()}


def test_country_is_the_numbers_worked_out_by_hand(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    country = compute(examples, asked).tasks["country"]
    # At least 20 % on the capital: base 0.30 and 0.25 of four rows, edited 0.50, 0.40 and 0.30.
    # France gained on its first row: SE² = 3/2·(50² + 25² + 25²)/4² with 16/6 - 1 = 1.67 degrees of freedom,
    # t = 5.24227. Its other row did not change along, so a row changes alone, and moves the rate by 25 points:
    # 25 - √((5.24227·SE)² + 2·(1.96·25)²) = -95.26; 100 is the most there is.
    assert (country.n, country.n_subjects) == (4, 3)
    assert country.success.model_dump() == {"base": 50.0, "edited": 75.0, "delta": 25.0, "ci": (-95.263184, 100.0)}
    # Without Peru's row, which the audit flagged: base 2 of 3, edited 3 of 3.
    clean = {"base": 66.666667, "edited": 100.0, "delta": 33.333333, "n": 3}
    assert country.clean is not None
    assert country.clean.model_dump() == clean
    # Hard negatives (2 + 3) / 2 and (2.5 + 3.5) / 2 nats; both rose by 0.5: nothing varies but rounding.
    hard = {"base": 2.5, "edited": 3.0, "delta": 0.5, "ci": (0.499999, 0.500001), "n": 2, "n_subjects": 2}
    assert country.hard_negatives is not None
    assert country.hard_negatives.model_dump() == hard


def test_a_pair_loss_is_the_numbers_worked_out_by_hand(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    gender = compute(examples, asked).tasks["gender"]
    # Within ln 1.5 = 0.405: base 0.2 yes and 2.0 no, edited 1.0 no and 1.5 no. Nurse -100, janitor 0.
    assert gender.success.model_dump() == {"base": 50.0, "edited": 0.0, "delta": -50.0, "ci": (-100.0, 100.0)}


def test_the_average_is_the_numbers_worked_out_by_hand(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    average = compute(examples, asked).average
    assert (average.tasks, average.n_tasks, average.complete) == (("country", "gender"), 2, False)
    # Base (50 + 50) / 2, edited (75 + 0) / 2. Gender's two subjects say next to nothing.
    found = average.success.model_dump()
    assert found == {"base": 50.0, "edited": 37.5, "delta": -12.5, "ci": (-100.0, 100.0)}
    # Clean: (66.667 + 50) / 2 and (100 + 0) / 2. Hard negatives: (2.5 + 1) / 2 and (3 + 1) / 2.
    assert average.clean is not None
    assert average.clean.model_dump() == {"base": 58.333333, "edited": 50.0, "delta": -8.333333}
    assert average.hard_negatives is not None
    found = average.hard_negatives.model_dump()
    assert (found["base"], found["edited"], found["delta"]) == (1.75, 2.0, 0.25)
    assert found["ci"] == (0.249999, 0.250001)


def test_general_text_is_the_numbers_worked_out_by_hand(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    general = compute(examples, asked).general
    # Base (30 + 90) / 40 = 3, edited (30.03 + 90.03) / 40 = 3.0015, ratio 1.0005. Pulls are 0.015/120 and
    # its opposite, SE √(2·2)·0.000125, one degree of freedom: ± 12.7062·√(0.00025² + 0.000125²). Noise floor from the
    # chunk scored twice: 30.00003/30 - 1 = 1e-6.
    assert general.model_dump() == {
        "name": "openwebtext-100",
        "data_hash": "9" * 64,
        "n_chunks": 2,
        "n_tokens": 40,
        "base": 3.0,
        "edited": 3.0015,
        "ratio": 1.0005,
        "ratio_ci": (0.996948508, 1.004051492),
        "straddles": ("1e-3", "1e-4", "1e-5"),
        "noise_floor": 1e-6,
        "leagues": {"1e-3": "in", "1e-4": "out", "1e-5": "out"},
    }


def test_a_parquet_file_on_disk_gives_the_same_numbers(
    examples: dict[str, Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "examples.parquet"
    table = pa.table({name: pa.array(values, from_pandas=True) for name, values in examples.items()})
    pq.write_table(table.append_column("note", pa.array(["another column"] * len(table))), path)
    assert compute(pq.read_table(path), asked) == compute(examples, asked)
    compact = pq.read_table(path, read_dictionary=["task", "part", "subject"])
    assert compute(compact, asked) == compute(examples, asked)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)))
def test_the_order_of_the_rows_does_not_matter(
    examples: dict[str, Any], asked: dict[str, Any], order: list[int]
) -> None:
    assert compute(kept(examples, order), asked) == compute(examples, asked)


def test_a_task_has_the_same_numbers_whichever_others_ran(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    only = {"country": asked["tasks"]["country"]}
    alone = compute(kept(examples, examples["task"] != "gender"), asked, tasks=only)
    assert alone.tasks["country"] == compute(examples, asked).tasks["country"]
    assert alone.average.success == alone.tasks["country"].success


def test_without_a_base_the_models_own_values_stand_in_edited(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    own = compute(without_base(examples), asked)
    assert own.tasks["country"].success.model_dump() == {"base": None, "edited": 75.0, "delta": None, "ci": None}
    assert own.average.success.model_dump() == {"base": None, "edited": 37.5, "delta": None, "ci": None}
    assert (own.general.edited, own.general.base, own.general.ratio, own.general.noise_floor) == (3.0015, *[None] * 3)
    assert own.general.leagues == {"1e-3": None, "1e-4": None, "1e-5": None}


def test_a_protocols_threshold_overrides_the_tasks_own(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    lax = protocol_from_mapping({"name": "half", "thresholds": {"country": math.log(2)}, "leagues": [0.01]})
    found = compute(examples, asked, protocol=lax)
    # At least 50 % on the capital: only the edited model's first row. Gender keeps its own threshold.
    assert (found.tasks["country"].threshold, found.tasks["country"].success.edited) == (math.log(2), 25.0)
    assert found.tasks["gender"].success.base == 50.0
    assert found.general.leagues == {"0.01": "in"}


def test_a_task_without_clean_rows_or_hard_negatives_says_null_and_so_does_the_average(
    examples: dict[str, Any], asked: dict[str, Any]
) -> None:
    examples["clean"] = examples["clean"] & (examples["task"] != "gender")
    rows = (examples["task"] != "gender") | (examples["part"] != "hard_negatives")
    found = compute(kept(examples, rows), asked)
    assert (found.tasks["gender"].clean, found.tasks["gender"].hard_negatives) == (None, None)
    assert (found.average.clean, found.average.hard_negatives) == (None, None)
    assert found.tasks["country"].clean is not None


def test_one_subject_has_no_interval_and_an_empty_one_is_a_cluster_of_its_own(
    examples: dict[str, Any], asked: dict[str, Any]
) -> None:
    same, unnamed = examples.copy(), examples.copy()
    same["subject"] = np.full(12, "one")
    unnamed["subject"] = np.full(12, "")
    one = compute(same, asked)
    assert (one.tasks["country"].n_subjects, one.tasks["country"].success.ci, one.average.success.ci) == (1, None, None)
    assert compute(unnamed, asked).tasks["country"].n_subjects == 4


def spoil(column: str, row: int, value: Any) -> Any:
    def spoiled(examples: dict[str, Any]) -> None:
        examples[column] = examples[column].copy()
        examples[column][row] = value

    return spoiled


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda e: e.pop("subject"), "missing column subject"),
        (spoil("edited_log_p_a", 2, np.nan), r"country evaluation: edited log p_a: not finite in row 2 \(nan\)"),
        (spoil("edited_log_p_a", 5, -np.inf), r"country hard_negatives: edited log p_a: not finite in row 1 \(-inf\)"),
        (spoil("base_log_p_a", 11, np.nan), r"general: base log p_a: not finite in row 1"),
        (spoil("edited_log_p_b", 7, np.nan), r"gender evaluation: edited log p_b: not finite in row 1"),
        (spoil("edited_loss", 0, 0.7), r"row 0 has edited_loss 0.7, but its log-probabilities give 0.693147"),
        (spoil("base_loss", 11, np.nan), "general: row 1 has base_loss nan"),
        (spoil("index", 3, 0), "country evaluation: row 0 stands twice"),
        (spoil("part", 0, "evaluate"), "unexpected rows of task 'country', part 'evaluate'"),
        (spoil("task", 0, "verb"), "unexpected rows of task 'verb'"),
        (spoil("task", 10, "verb"), "unexpected rows of task 'verb', part 'general'"),
        (spoil("base_again_log_p_a", 10, np.nan), "not scored twice"),
        (spoil("n_tokens_a", 10, 0), "chunk 0 has no scored token"),
        (lambda e: e.update(index=["first"] * 12), "a column has another type"),
        (lambda e: e.update(clean=[None] * 12), "column clean has empty cells"),
        (lambda e: e.update(clean=[True]), "a column has another type"),
    ],
)
def test_examples_that_cannot_be_trusted_give_one_line_and_no_number(
    examples: dict[str, Any], asked: dict[str, Any], spoiled: Any, message: str
) -> None:
    spoiled(examples)
    with pytest.raises(CanonbenchError, match=message) as caught:
        compute(examples, asked)
    assert "\n" not in str(caught.value)


def test_what_was_asked_and_what_was_scored_must_agree(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    with pytest.raises(CanonbenchError, match="not named"):
        compute(examples, asked, general=None)
    with pytest.raises(CanonbenchError, match="named but not scored"):
        compute(kept(examples, examples["part"] != "general"), asked)
    with pytest.raises(CanonbenchError, match="no evaluation rows of task 'verb'"):
        compute(examples, asked, tasks={**asked["tasks"], "verb": TaskSpec("preference", 0.0)})
    with pytest.raises(UsageError, match="no task"):
        compute(examples, asked, tasks={})


def test_a_stored_loss_may_differ_by_rounding_only(examples: dict[str, Any], asked: dict[str, Any]) -> None:
    examples["edited_loss"] = examples["edited_loss"] + 1e-10
    compute(examples, asked)
    examples["edited_loss"] = examples["edited_loss"] + 1e-8
    with pytest.raises(CanonbenchError, match="edited_loss"):
        compute(examples, asked)
