from __future__ import annotations

import math
import subprocess
import sys

import pytest
import yaml

from canonbench.errors import CanonbenchError, UsageError
from canonbench.scoring.protocol import protocol, protocol_from_mapping


def test_the_default_protocol_scores_the_splits_own_hard_negatives_and_general_text() -> None:
    default = protocol("canonbench-1")
    assert (default.hard_negatives, default.general) == ("own", "split")
    assert dict(default.leagues) == {"1e-3": 0.001, "1e-4": 0.0001, "1e-5": 0.00001}


def test_hewitt2024_reads_the_val_hard_negatives_and_one_general_text() -> None:
    released = protocol("hewitt2024")
    assert (released.hard_negatives, released.general) == ("val", "all")


def test_an_unknown_protocol_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'hewitt2024'"):
        protocol("hewit2024")


def test_a_protocol_file_overrides_only_what_it_names() -> None:
    text = "name: factor-two\nbase: hewitt2024\nthresholds: {gender: 0.6931471805599453}\nleagues: [1e-3, 0.01]"
    mine = protocol_from_mapping(yaml.safe_load(text))
    assert mine.name.startswith("factor-two@")
    assert mine.threshold("gender", math.log(1.5)) == math.log(2)
    assert mine.threshold("verb", -math.log(16)) == -math.log(16)
    assert (mine.hard_negatives, mine.general) == ("val", "all")
    assert mine.leagues == {"1e-3": 0.001, "0.01": 0.01}


def test_two_files_of_one_name_and_different_content_have_different_names() -> None:
    one, other = (protocol_from_mapping({"name": "mine", "thresholds": {"verb": nats}}).name for nats in (-1, -2))
    again = protocol_from_mapping({"thresholds": {"verb": -1.0}, "name": "mine"}).name
    assert one != other
    assert one == again


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"name": "m", "treshold": {}}, UsageError, "Did you mean 'thresholds'"),
        ({"name": "m", "base": "canonbench1"}, UsageError, "Did you mean 'canonbench-1'"),
        ({"name": "m", "general": "both"}, UsageError, "must be one of all, split"),
        ({}, CanonbenchError, "give it a name"),
        ({"name": "m", "leagues": "1e-3"}, CanonbenchError, "leagues must be a list"),
        ({"name": "m", "leagues": [[1e-3]]}, CanonbenchError, "must be a finite number"),
        ({"name": "m", "leagues": [-1e-3]}, CanonbenchError, "must be positive"),
        ({"name": "m", "thresholds": [1]}, CanonbenchError, "must map task names to nats"),
        ({"name": "m", "thresholds": {"verb": math.nan}}, CanonbenchError, "threshold of verb"),
        ({"name": "m", "thresholds": {"verb": True}}, CanonbenchError, "threshold of verb"),
        ({"name": "m", "thresholds": {"verb": "1e999"}}, CanonbenchError, "threshold of verb"),
        ({"name": "m", "thresholds": {"verb": 10**400}}, CanonbenchError, "threshold of verb"),
        ({"name": "m\n"}, CanonbenchError, "give it a name"),
        ({"name": "m", "bootstrap_resamples": 1000}, UsageError, "leave bootstrap_resamples out"),
    ],
)
def test_a_protocol_file_that_makes_no_sense_gets_one_line(mapping: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        protocol_from_mapping(mapping)
    assert "\n" not in str(caught.value)


def test_scoring_imports_no_model_library() -> None:
    code = "import sys, canonbench.scoring; print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
