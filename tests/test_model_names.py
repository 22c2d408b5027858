"""What an ensemble's name says, and what it may not say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from canonbench.errors import UsageError
from canonbench.model_names import EnsembleName, is_ensemble, parse_ensemble, portable
from canonbench.models.source import parse_source


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("ensemble:gpt2-xl,edit", EnsembleName("gpt2-xl", "edit", None, 1.0)),
        ("ensemble:a/b@main, runs/edit ,beta=0.3", EnsembleName("a/b@main", "runs/edit", None, 0.3)),
        ("ensemble:a,b,beta=0,base=c", EnsembleName("a", "b", "c", 0.0)),
        ("ensemble:a,b,beta=auto", EnsembleName("a", "b", None, None)),
        ("ensemble:a,b,base=c,beta=auto@1e-4", EnsembleName("a", "b", "c", None, "1e-4")),
    ],
)
def test_a_name_is_read_and_written_alike(name: str, means: EnsembleName) -> None:
    assert parse_ensemble(name) == means
    assert parse_ensemble(str(means)) == means
    assert is_ensemble(name)
    assert parse_source(name).kind == "ensemble"


def test_tenths_are_written_as_people_do() -> None:
    assert str(EnsembleName("a", "b", "c", 7 / 10)) == "ensemble:a,b,base=c,beta=0.7"


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("", "is no ensemble of two models: it is written ensemble:LARGE,SMALL_EDIT[,base=SMALL]"),
        ("a", "is no ensemble of two models"),
        ("a,", "is no ensemble of two models"),
        ("a,b,c", "is no ensemble of two models"),
        ("beta=1,a,b", "is no ensemble of two models"),
        ("a,b,beta=much", "beta must be a number from 0 on, auto or auto@LEAGUE, not 'much'"),
        ("a,b,beta=-1", "beta must be a number from 0 on"),
        ("a,b,beta=nan", "beta must be a number from 0 on"),
        ("a,b,beta=inf", "beta must be a number from 0 on"),
        ("a,b,beta=0.5@1e-4", "beta must be a number from 0 on"),
        ("a,b,beta=", "beta must be given once, with a value"),
        ("a,b,beta=1,beta=0.5", "beta must be given once, with a value"),
        ("a,b,bta=1", "unknown option 'bta' of an ensemble, must be one of base, beta. Did you mean 'beta'?"),
        ("ensemble:a,b", "a part of an ensemble cannot be an ensemble itself"),
        ("a,b,base=ensemble:c", "a part of an ensemble cannot be an ensemble itself"),
    ],
)
def test_what_it_may_not_say_is_one_line(rest: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ensemble(f"ensemble:{rest}")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [
        (
            "org/large@main,/tmp/a/candidate-3,base=/tmp/small,beta=0.5",
            "org/large@main,candidate-3,base=small,beta=0.5",
        ),
        ("/tmp/large,runs/t/artefacts/c-1,base=./small,beta=1", "large,c-1,base=small,beta=1"),
        ("demo-gpt2,~/c-1,base=demo-backpack,beta=0.2", "demo-gpt2,c-1,base=demo-backpack,beta=0.2"),
    ],
)
def test_elsewhere_a_place_on_this_machine_says_nothing(name: str, elsewhere: str) -> None:
    found = portable(f"ensemble:{name}")
    assert found == f"ensemble:{elsewhere}"
    assert parse_ensemble(portable(found, large="org/known")) == replace(parse_ensemble(found), large="org/known")
