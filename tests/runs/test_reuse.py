"""What an edit of senses leaves as it is is not scored again, and every score is what scoring everything gives."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import kill_after, packs, row_of
from run_cases import write_suite

import canonbench
from canonbench.cache import Store
from canonbench.likelihood.packs import Layout, Pack, plan_packs
from canonbench.likelihood.reuse import BaseScores, Reuse, StateCache, unchanged_scores, unchanged_tokens
from canonbench.likelihood.tokens import Request
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.runs.measure import ScoredModel, measure, measure_base
from canonbench.runs.progress import Progress
from canonbench.runs.requests import Measured, RequestBatch
from tiny_models import save_tiny, tiny_model

WORDS = (7, 9)


@pytest.mark.parametrize(
    ("ids", "start", "unchanged"),
    [
        ((1, 2, 3, 4), 1, 3),  # none of the words: all three
        ((1, 2, 7, 4), 1, 2),  # 7 itself is predicted before it is seen
        ((1, 2, 3, 7), 1, 3),  # and what comes last is never seen
        ((7, 2, 3, 4), 1, 0),
        ((1, 7, 3, 4), 3, 0),  # in the prefix
        ((1, 2, 7, 4), 3, 0),
        ((1, 2, 7, 9), 2, 1),
    ],
)
def test_tokens_predicted_before_the_first_changed_word_stay_as_they_are(
    ids: tuple[int, ...], start: int, unchanged: int
) -> None:
    assert unchanged_tokens(Request(ids, start), frozenset(WORDS)) == unchanged


@settings(deadline=None)  # it is as fast as the machine is free
@given(st.lists(st.lists(st.integers(3, 6), min_size=2, max_size=7), min_size=1, max_size=12), st.data())
def test_a_pack_asked_for_fewer_tokens_answers_as_much_of_the_whole(lists: list[list[int]], data: Any) -> None:
    requests = [Request(tuple(ids), data.draw(st.integers(1, len(ids) - 1))) for ids in lists]
    for pack in plan_packs(requests, 16, Layout("tree", 64, attention=1e-3)):
        assert [place for _, own in pack.answers(pack.places) for place in own] == pack.places.tolist()
        assert all(own.tolist() == list(range(len(own))) for _, own in pack.answers(pack.places))
        kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(pack.row), max_size=len(pack.row))))
        part = pack.only(kept)
        if part is None:
            assert not kept.any()
            continue
        assert part.ids is pack.ids
        assert part.rows[part.row].tolist() == pack.rows[pack.row][kept].tolist()
        assert part.target.tolist() == pack.target[kept].tolist()
        assert part.request.tolist() == pack.request[kept].tolist()


def unit(name: str, seed: int, count: int = 12) -> RequestBatch:
    """Sequences of a few words, so that many begin alike; WORDS are in some of them."""
    draw = np.random.default_rng(seed)
    sequences = [tuple(draw.integers(3, 40, draw.integers(4, 30)).tolist()) for _ in range(count)]
    starts = [1 if name == "general" else int(draw.integers(1, len(ids))) for ids in sequences]
    return RequestBatch(
        name, [Request(*each) for each in zip(sequences, starts, strict=True)], [f"row {n}" for n in range(count)]
    )


UNITS = [unit("country", 0), unit("general", 1)]


def edited_backpack(base: Any, words: Sequence[int] = WORDS) -> Any:
    model = copy.deepcopy(base)
    edit = model.edit_senses(torch.tensor([*words, 11]), torch.arange(len(words) + 1) % 4)
    edit.deltas.data[: len(words)] = 0.5  # of the last, nothing has changed
    return model


@pytest.mark.parametrize("has_states", [False, True])
def test_scores_are_those_of_scoring_everything_and_less_is_asked(
    has_states: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path / "cache"))
    base = tiny_model("backpack")
    model = edited_backpack(base)
    before, mark = fingerprint(base), fingerprint(model)
    states = StateCache(2**30, lambda _line: None).between(base, before, mark) if has_states else None
    assert (states is not None) == has_states
    where = Store(tmp_path / "base", print)
    measured = measure_base(ScoredModel(base, before), UNITS, where, Progress(), batch_tokens=64, states=states)
    scores = unchanged_scores(model, before, mark, tokens_of(measured))
    assert scores is not None
    assert scores.words == set(WORDS)
    subject, where = ScoredModel(model, mark), Store(tmp_path / "whole", print)
    whole = measure(subject, UNITS, where, Progress(), batch_tokens=64, label="edited")
    asked: list[Pack] = []
    monkeypatch.setattr("canonbench.runs.measure.score", counting(asked))
    where = Store(tmp_path / "less", print)
    how: dict[str, Any] = {"batch_tokens": 64, "label": "edited", "reuse": Reuse(states, scores)}
    less = measure(subject, UNITS, where, Progress(), **how)
    changed = 0
    for each in UNITS:
        counts = [unchanged_tokens(request, scores.words) for request in each.requests]
        changed += int(each.n_scored.sum()) - sum(counts)
        np.testing.assert_allclose(less[each.name].sums, whole[each.name].sums, rtol=0, atol=1e-6)
        same = [count == own for count, own in zip(counts, each.n_scored, strict=True)]
        assert 0 < sum(same) < len(same)
        assert (less[each.name].sums[same] == measured[each.name].sums[same]).all()
        assert (less[each.name].sums != measured[each.name].sums).any()
    assert sum(len(pack.target) for pack in asked) == changed


def tokens_of(measured: Mapping[str, Measured]) -> dict[str, Any]:
    return {name: each.tokens for name, each in measured.items()}


def counting(asked: list[Pack]) -> Any:
    from canonbench.likelihood.engine import score

    def counted(model: Any, pack: Pack, *arguments: Any, **options: Any) -> Any:
        asked.append(pack)
        return score(model, pack, *arguments, **options)

    return counted


def test_the_bases_tokens_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    base = tiny_model("backpack")
    subject, store = ScoredModel(base, fingerprint(base)), Store(tmp_path, print)
    first, second = (measure_base(subject, UNITS, store, Progress(), batch_tokens=64) for _ in range(2))
    for each in UNITS:
        one, other = first[each.name], second[each.name]
        assert one.tokens is not None
        assert other.tokens is not None
        assert all(np.array_equal(one.tokens[request], other.tokens[request]) for request in range(12))
        assert [float(other.tokens[request].sum()) for request in range(12)] == other.sums.tolist()


def test_scores_of_a_base_without_its_tokens_are_no_help(tmp_path: Path) -> None:
    base = tiny_model("backpack")
    model = edited_backpack(base)
    before, mark = fingerprint(base), fingerprint(model)
    sums_only = measure(
        ScoredModel(base, before), UNITS, Store(tmp_path, print), Progress(), batch_tokens=64, label="base"
    )
    scores = unchanged_scores(model, before, mark, tokens_of(sums_only))
    assert isinstance(scores, BaseScores)
    assert Reuse(None, scores).unchanged("country", UNITS[0].requests) is None


def test_nothing_is_taken_from_the_base_where_more_than_senses_changed() -> None:
    base = tiny_model("backpack")
    model = edited_backpack(base)
    model.backpack.sense_weight_net.c_attn.bias.data[0] += 0.1
    assert unchanged_scores(model, fingerprint(base), fingerprint(model), {}) is None
    again = edited_backpack(base)
    before = fingerprint(again)
    again.backpack.sense_edit.deltas.data += 0.1  # of a base that has an edit
    assert unchanged_scores(again, before, fingerprint(again), {}) is None
    llama = tiny_model("llama")
    before = fingerprint(llama)
    next(llama.parameters()).data += 0.1
    assert unchanged_scores(llama, before, fingerprint(llama), {}) is None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite", copies=3, chunks=30)
    save_tiny(folder / "base", "backpack", tokenizer="bos")
    return folder


def test_an_edit_that_general_text_does_not_show_is_an_edit(world: Path, tmp_path: Path) -> None:
    """Scores of G that are the base's to the last bit tell nothing where no word of G was edited."""

    def unseen(model: Any, tokenizer: Any, _request: Any) -> Any:
        (tilde,) = tokenizer("~", add_special_tokens=False).input_ids
        model.edit_senses(torch.tensor([tilde]), torch.tensor([0])).deltas.data += 1
        return model

    row = canonbench.edit(
        unseen, str(world / "base"), suite=world / "suite", tasks="country", run=tmp_path / "run", leagues=["1e-3"]
    )
    assert row.leagues is not None
    candidate = json.loads((tmp_path / "run" / "candidates.jsonl").read_text())
    assert candidate["ratio"] == 1


def start(world: Path, run: Path, cache: Path) -> subprocess.Popen[str]:
    names = ("--method", "senses", "--model", world / "base", "--suite", world / "suite", "--task", "country,gender")
    options = ("--set", "epochs=3", "--set", "lr=3e-3", "--keep", "all", "--batch-tokens", "60")
    return killing.start(cache, "edit", *names, *options, "--run", run)


def test_killed_and_started_again_it_ends_with_the_same_row_and_the_artefacts_score_the_same(
    world: Path, tmp_path: Path
) -> None:
    whole = start(world, tmp_path / "whole", tmp_path / "cache-a")
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    run, cache = tmp_path / "run", tmp_path / "cache-b"
    process = start(world, run, cache)
    assert kill_after(process, packs(tmp_path / "whole", tmp_path / "cache-a") // 2, (run, cache), signal.SIGKILL)
    last = start(world, run, cache)
    assert last.wait(timeout=300) == 0, last.stderr.read()
    assert row_of(run) == row_of(tmp_path / "whole")
    candidates = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    for each in candidates:
        folder = run / "artefacts" / each["task"] / "seed-0" / f"candidate-{each['number']}"
        assert fingerprint(load_model(folder, Loading()).model).key == each["fingerprint"]
    best = next(each for each in candidates if each["success"] is not None)
    folder = run / "artefacts" / best["task"] / "seed-0" / f"candidate-{best['number']}"
    row = canonbench.evaluate(folder, suite=world / "suite", tasks=best["task"], split="val", batch_tokens=60)
    assert row.general is not None
    assert row.general.ratio == best["ratio"]
    assert row.tasks[best["task"]].hard_negatives.edited == pytest.approx(best["hard_negatives"], abs=1e-6)
