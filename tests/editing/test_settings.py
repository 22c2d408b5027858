"""Settings of a method: from text to a checked dataclass, and what people are told of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from canonbench.editing.settings import SettingDoc, fields_of, merged, parse_settings, read_assignments
from canonbench.errors import CanonbenchError, UsageError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Made:
    """Settings of every kind that methods have."""

    lr: Annotated[float, Field(gt=0)] = 3e-4
    """Learning rate;
    published: 1e-6 to 1e-2."""
    rank: Annotated[int, Field(ge=1, le=256)] = 16
    """Of the adapter."""
    kind: Literal["paper", "released"] = "paper"
    layer: Annotated[int, Field(ge=0)] | Literal["middle"] | None = None
    betas: tuple[float, float] = (0.9, 0.995)
    layers: tuple[int, ...] = ()
    flag: bool = True
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    text: str = "a: b"
    end: str = "\n"
    tiny: float = 1e-06


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Heir(Made):
    """Has a setting of its own, and another default of one that it inherits."""

    own: int
    """Its own."""
    rank: int = 4


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Needy:
    prompt: str
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def __post_init__(self) -> None:
        if self.share > 0.9 and self.prompt == "short":
            raise ValueError("a short prompt needs a share of at most 0.9")


@dataclasses.dataclass
class Plain:
    lr: float = 0.5
    kept: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
    told: int = dataclasses.field(default=0, init=False)


def test_every_field_is_listed_with_its_bounds_default_and_docstring() -> None:
    assert fields_of(Made) == [
        SettingDoc("lr", "number > 0", "0.0003", "Learning rate; published: 1e-6 to 1e-2."),
        SettingDoc("rank", "whole number >= 1, <= 256", "16", "Of the adapter."),
        SettingDoc("kind", "paper | released", "paper", ""),
        SettingDoc("layer", "whole number >= 0 | middle | null", "null", ""),
        SettingDoc("betas", "number, number", "[0.9, 0.995]", ""),
        SettingDoc("layers", "list, each whole number", "[]", ""),
        SettingDoc("flag", "true | false", "true", ""),
        SettingDoc("options", "mapping", "{}", ""),
        SettingDoc("text", "text", "'a: b'", ""),
        SettingDoc("end", "text", '"\\n"', ""),
        SettingDoc("tiny", "number", "1e-6", ""),
    ]


def test_own_settings_come_first_and_inherited_docstrings_are_kept() -> None:
    listed = fields_of(Heir, {"kind": "released", "own": 3, "text": "b"})
    assert [field.name for field in listed][:4] == ["rank", "own", "lr", "kind"]
    found = {field.name: field for field in listed}
    assert found["own"] == ("own", "whole number", "3", "Its own.")
    assert found["lr"].doc == "Learning rate; published: 1e-6 to 1e-2."
    assert found["rank"] == ("rank", "whole number", "4", "Of the adapter.")
    assert (found["kind"].default, found["text"].default) == ("released", "b")


def test_a_plain_dataclass_is_listed_too_and_a_setting_without_default_is_required() -> None:
    assert [field[:3] for field in fields_of(Plain)] == [
        ("lr", "number", "0.5"),
        ("kept", "list, each whole number", "[1, 2]"),
    ]
    assert fields_of(Needy)[0] == ("prompt", "text", "required", "")


def test_a_listed_default_typed_after_set_is_the_default() -> None:
    typed = [f"{field.name}={field.default}" for field in fields_of(Made)]
    assert parse_settings(Made, read_assignments(typed)) == Made()
    assert parse_settings(None, read_assignments(["tiny=1e-6", "big=1e22"])) == {"tiny": 1e-6, "big": 1e22}


def test_assignments_are_yaml_and_dotted_names_fill_mappings() -> None:
    texts = ["lr=3e-4", "rank=16", "layers=[1, 2]", "options.r=4", "options.inner.x= a=b", "flag=false", "text=''"]
    assert read_assignments(texts) == {
        "lr": "3e-4",
        "rank": 16,
        "layers": [1, 2],
        "options": {"r": 4, "inner": {"x": "a=b"}},
        "flag": False,
        "text": "",
    }
    assert read_assignments(["a=1", "a=2"]) == {"a": 2}


@pytest.mark.parametrize("text", ["lr", "=3", ".r=3", "options.=3", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must read name=value, such as --set lr=3e-4"):
        read_assignments([text])


def test_bad_yaml_and_a_name_that_is_value_and_mapping_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--set layers=\[1: the value is not valid YAML"):
        read_assignments(["layers=[1"])
    with pytest.raises(UsageError, match="'options' has been given a value already"):
        read_assignments(["options=3", "options.r=4"])
    with pytest.raises(UsageError, match="parts of 'options' have been given already"):
        read_assignments(["options.r=4", "options=3"])


@given(st.floats(min_value=1e-30, max_value=1e30), st.sampled_from(["{!r}", "{:.17e}", "{:.17E}"]))
def test_a_number_arrives_however_it_is_written(value: float, written: str) -> None:
    text = written.format(value)
    assert parse_settings(Made, read_assignments([f"lr={text}"])).lr == value
    assert parse_settings(None, read_assignments([f"lr={text}"])) == {"lr": value}
    assert parse_settings(Made, read_assignments([f"options.lr={text}"])).options == {"lr": value}


def test_without_a_class_text_that_only_looks_like_a_number_stays_text() -> None:
    values = {"a": "1e-3x", "b": "e5", "c": ["1e2", {"d": "-.5E+2"}], "e": "1.5"}
    assert parse_settings(None, values) == {"a": "1e-3x", "b": "e5", "c": [100.0, {"d": -50.0}], "e": "1.5"}


def test_text_is_kept_where_text_is_wanted() -> None:
    assert parse_settings(Made, {"text": "1e-3"}).text == "1e-3"


REFUSED = {
    "mistyped": ({"rnak": 3}, "unknown setting 'rnak', must be one of .*Did you mean 'rank'"),
    "bound": ({"lr": "-3e-4"}, "setting 'lr' is '-3e-4': should be greater than 0"),
    "not a number": ({"lr": "fast"}, "setting 'lr' is 'fast': should be a valid number, unable to parse"),
    "not whole": ({"rank": 1.5}, "setting 'rank' is 1.5: should be a valid integer"),
    "too many": ({"rank": 257}, "setting 'rank' is 257: should be less than or equal to 256"),
    "choice": ({"kind": "papr"}, "setting 'kind' is 'papr': should be 'paper' or 'released'"),
    "several types": ({"layer": -1}, "setting 'layer' is -1: should be greater than or equal to 0, or should be 'midd"),
    "within a list": ({"betas": [1, "x"]}, r"setting 'betas' is \[1, 'x'\]: should be a valid number"),
    "short list": ({"betas": [1]}, r"setting 'betas' is \[1\]: a part is missing"),
    "null": ({"lr": None}, "setting 'lr' is None: should be a valid number"),
}


@pytest.mark.parametrize(("values", "says"), REFUSED.values(), ids=REFUSED)
def test_a_bad_value_is_one_line_with_setting_value_and_bound(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_settings(Made, values)
    assert "\n" not in str(caught.value)


def test_a_setting_without_default_must_be_given_and_checks_of_the_class_are_told() -> None:
    with pytest.raises(UsageError, match="setting 'prompt' has no default; give --set prompt=VALUE"):
        parse_settings(Needy, {})
    with pytest.raises(UsageError, match=r"settings: a short prompt needs a share of at most 0\.9"):
        parse_settings(Needy, {"prompt": "short", "share": 0.95})


def test_a_plain_dataclass_is_held_to_its_types_too() -> None:
    assert parse_settings(Plain, {"lr": "1e-2"}) == Plain(lr=0.01)
    with pytest.raises(UsageError, match="unknown setting 'told'"):
        parse_settings(Plain, {"told": 1})
    with pytest.raises(UsageError, match="setting 'lr' is 'fast'"):
        parse_settings(Plain, {"lr": "fast"})


def test_a_method_without_any_setting_says_so() -> None:
    with pytest.raises(UsageError, match="unknown setting 'lr': there are none"):
        parse_settings(dataclasses.make_dataclass("None_", []), {"lr": 1})


def test_a_class_that_is_no_dataclass_or_holds_what_text_cannot_name_is_refused() -> None:
    class Model(BaseModel):
        lr: float = 1.0

    strange = dataclasses.make_dataclass("Strange", [("dtype", torch.dtype, torch.float32)])
    with pytest.raises(CanonbenchError, match="the settings class Model must be a dataclass"):
        parse_settings(Model, {})
    with pytest.raises(CanonbenchError, match="the settings class Strange cannot be used: "):
        fields_of(strange)


def test_merging_goes_into_mappings_and_changes_neither_side() -> None:
    below, over = {"a": 1, "options": {"r": 4, "alpha": 8}}, {"options": {"r": 2}, "b": {"c": 3}}
    assert merged(below, over) == {"a": 1, "options": {"r": 2, "alpha": 8}, "b": {"c": 3}}
    assert below == {"a": 1, "options": {"r": 4, "alpha": 8}}
    assert merged({"options": 1}, {"options": {"r": 2}}) == {"options": {"r": 2}}
