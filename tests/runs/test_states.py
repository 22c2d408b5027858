"""Hidden states that runs leave to each other: the same rows, sooner, and whatever befalls the states."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from run_cases import write_suite
from transformers import AutoModelForCausalLM

import canonbench
from canonbench.cache import Store
from canonbench.errors import UsageError
from canonbench.likelihood.blocks import decoder_blocks
from canonbench.likelihood.reuse import Reuse, StateCache, States
from canonbench.likelihood.tokens import Encoder
from canonbench.models.fingerprint import fingerprint
from canonbench.runs.measure import ScoredModel, measure
from canonbench.runs.progress import Progress
from canonbench.runs.requests import RequestBatch
from tiny_models import save_tiny, tiny_model, tiny_tokenizer

ENOUGH = 2**30
MOOD = ("seconds", "peak_memory_bytes")


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the states, in a cache of the test's own."""
    monkeypatch.setenv("CANONBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/states"


def files(states: Path) -> list[Path]:
    return sorted(states.rglob("*.safetensors"))


def size(states: Path) -> int:
    return sum(path.stat().st_size for path in states.rglob("*") if path.is_file())


# Whole evaluations


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_suite(folder / "suite")
    save_tiny(folder / "base", "llama", tokenizer="bos", num_hidden_layers=4)
    return folder


def edited(base: Path, target: Path, block: int, by: float = 1.01) -> Path:
    """A copy of a checkpoint that is another from ``block`` on."""
    shutil.copytree(base, target)
    model = AutoModelForCausalLM.from_pretrained(base)
    for parameter in decoder_blocks(model)[1][block].parameters():
        parameter.data *= by
    model.save_pretrained(target)
    return target


def run(world: Path, model: Path, folder: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """The row, but for what depends on the machine's mood, with every example's numbers; and what was said."""
    said: list[str] = []
    progress = options.pop("progress", None) or Progress(say=said.append)
    options = {"base": world / "base", "suite": world / "suite", "tasks": "gender", "batch_tokens": 40} | options
    row = canonbench.evaluate(model, run=folder, progress=progress, **options)
    content = {key: value for key, value in json.loads(row.to_json()).items() if key not in MOOD}
    examples = pq.read_table(folder / "examples.parquet").to_pylist()
    return content | {"examples": repr(examples)}, [line for line in said if line.startswith("scoring resumes")]


def in_full(world: Path, model: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """The row without any states and without any cached score."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANONBENCH_CACHE", str(folder / "cache"))
        row, said = run(world, model, folder / "run", states_budget=0, **options)
        assert not said
        assert not (folder / "cache/states").exists()
    return row


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "mistral", "mpt", "mamba"])
def test_resumed_or_in_full_the_row_and_every_example_are_the_same(family: str, world: Path, tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", family, tokenizer="bos")
    model = edited(base, tmp_path / "edited", 1)
    row, said = run(world, model, tmp_path / "run", base=base, tasks="all")
    assert said == ["scoring resumes after block 1 of 2: 50% of the blocks are skipped"]
    assert row == in_full(world, model, tmp_path / "full", base=base, tasks="all")


def adapter(base: Path, target: Path, config: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(target)
    return target


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_adapter_resumes_and_so_does_one_that_half_precision_leaves_unmerged(
    dtype: str, world: Path, tmp_path: Path
) -> None:
    kind = LoraConfig(
        task_type=TaskType.CAUSAL_LM, target_modules=["up_proj"], layers_to_transform=[3], init_lora_weights=False
    )
    lora = adapter(world / "base", tmp_path / "lora", kind)
    row, said = run(world, lora, tmp_path / "run", dtype=dtype)
    assert said == ["scoring resumes after block 3 of 4: 75% of the blocks are skipped"]
    assert row == in_full(world, lora, tmp_path / "full", dtype=dtype)


def test_an_adapter_that_works_from_below_is_run_in_full(world: Path, tmp_path: Path, states: Path) -> None:
    kind = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    prompt = adapter(world / "base", tmp_path / "prompt", kind)
    row, said = run(world, prompt, tmp_path / "run")
    assert not said
    assert not states.exists()
    assert row == in_full(world, prompt, tmp_path / "full")


def test_where_the_base_is_scored_already_the_first_edit_leaves_states_and_the_second_resumes(
    world: Path, tmp_path: Path, states: Path
) -> None:
    one, two = (edited(world / "base", tmp_path / name, 2, by) for name, by in (("one", 1.01), ("two", 0.99)))
    run(world, one, tmp_path / "run", states_budget=0)
    scores = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/scores").glob("*.jsonl")}
    assert not files(states)
    assert run(world, one, tmp_path / "run one")[1] == []
    left = files(states)
    assert left
    row, said = run(world, two, tmp_path / "run two")
    assert said == ["scoring resumes after block 2 of 4: 50% of the blocks are skipped"]
    assert row == in_full(world, two, tmp_path / "full")
    assert files(states) == left
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/scores").glob("*.jsonl")} == scores


def test_a_cache_that_cannot_be_written_means_a_run_in_full(world: Path, tmp_path: Path, states: Path) -> None:
    model = edited(world / "base", tmp_path / "edited", 2)
    states.parent.mkdir()
    states.write_text("not a folder")
    row, said = run(world, model, tmp_path / "run")
    assert not said
    assert row == in_full(world, model, tmp_path / "full")


KILLED = """
import os, signal, sys
import canonbench
from canonbench.likelihood import reuse
save, left = reuse.save_file, 9
def torn(tensors, path, **more):
    global left
    left -= 1
    save(tensors, path, **more)
    if not left:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
reuse.save_file = torn
base, edited, suite, run = sys.argv[1:]
canonbench.evaluate(edited, base=base, suite=suite, tasks='gender', run=run, batch_tokens=40)
"""


def test_killed_in_the_middle_of_writing_the_run_goes_on_and_nothing_torn_is_left(
    world: Path, tmp_path: Path, states: Path
) -> None:
    model = edited(world / "base", tmp_path / "edited", 2)
    command = [sys.executable, "-c", KILLED, world / "base", model, world / "suite", tmp_path / "run"]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(files(states)) == 8
    assert len(list(states.rglob("*.part"))) == 1
    row, said = run(world, model, tmp_path / "run")
    assert said
    assert row == in_full(world, model, tmp_path / "full")
    assert len(files(states)) > 8
    assert not list(states.rglob("*.part"))


@pytest.mark.parametrize("budget", [-1, math.nan, math.inf])
def test_a_budget_that_is_no_size_is_refused(budget: float, world: Path) -> None:
    with pytest.raises(UsageError, match=r"--states-budget must be a number of GiB, 0 for off; not (-1|nan|inf)"):
        canonbench.evaluate(world / "base", states_budget=budget)


# The budget


UNIT_TEXTS = [f"The town of number {number} lies by the river, and its people" for number in range(12)]


def unit(name: str = "towns", texts: list[str] = UNIT_TEXTS) -> RequestBatch:
    requests = Encoder.of(tiny_tokenizer()).pairs([(text, " sing") for text in texts])
    return RequestBatch(name, requests, texts)


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., Any]:
    """Sums of a unit by a model: whole, and never from a journal."""
    folders = (tmp_path / f"scores {number}" for number in range(100))

    def measured(model: Any, states: States | None, asked: RequestBatch | None = None) -> Any:
        asked = asked or unit()
        store = Store(next(folders), lambda _line: None)
        subject = ScoredModel(model, fingerprint(model))
        found = measure(subject, [asked], store, Progress(), batch_tokens=40, label="", reuse=Reuse(states))
        return found[asked.name].sums

    return measured


def pair(seed: int) -> tuple[Any, Any]:
    """A base, and an edit of its last block."""
    base = tiny_model("llama", seed=seed)
    return base, another(base, 1)


def another(base: Any, block: int, by: float = 1.01) -> Any:
    """A copy that is another from ``block`` on."""
    other = copy.deepcopy(base)
    for parameter in decoder_blocks(other)[1][block].parameters():
        parameter.data *= by
    return other


def between(cache: StateCache, base: Any, other: Any) -> States:
    found = cache.between(base, fingerprint(base), fingerprint(other))
    assert found is not None
    return found


def quiet(budget: int) -> StateCache:
    return StateCache(budget, lambda _line: None)


def test_the_least_recently_used_base_makes_room_and_the_budget_holds_for_all(
    score: Callable[..., Any], states: Path
) -> None:
    pairs = [pair(seed) for seed in range(3)]
    score(pairs[0][0], between(quiet(ENOUGH), *pairs[0]))
    budget = int(2.5 * size(states))
    folders = []
    for index in (0, 1, 0, 2):
        base, other = pairs[index]
        before = set(states.glob("*/*"))
        score(other, between(quiet(budget), base, other))
        folders.append(set(states.glob("*/*")) - before)
        assert size(states) <= budget
    (second,) = folders[1]
    assert folders[2] == set()
    assert len(folders[3]) == 1
    assert not second.parent.exists()  # and not the first, which was used again since
    assert len(set(states.glob("*/*"))) == 2


def test_a_run_never_removes_what_it_uses_itself(score: Callable[..., Any], states: Path) -> None:
    (base, other), (base2, other2) = pair(0), pair(1)
    score(base, between(quiet(ENOUGH), base, other))
    budget = int(1.5 * size(states))
    cache = quiet(budget)
    score(other, between(cache, base, other))
    kept = files(states)
    score(other2, between(cache, base2, other2))
    assert files(states) == kept
    score(other2, between(quiet(budget), base2, other2))
    assert not set(kept) & set(files(states))


def test_a_unit_whose_states_do_not_fit_leaves_none_and_a_smaller_one_its_own(
    score: Callable[..., Any], states: Path
) -> None:
    base, other = pair(0)
    cache = quiet(20_000)
    large, small = unit(), unit("few", UNIT_TEXTS[:2])
    np.testing.assert_array_equal(score(other, between(cache, base, other), large), score(other, None, large))
    assert not files(states)
    score(other, between(cache, base, other), small)
    assert files(states)
    assert size(states) <= 20_000


def test_the_last_half_of_a_disk_is_left_to_others(
    score: Callable[..., Any], states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    base, other = pair(0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9 - 10_000, 10_000))
    score(other, between(quiet(ENOUGH), base, other))
    assert not files(states)


def test_a_full_disk_ends_recording_and_nothing_else(
    score: Callable[..., Any], states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("canonbench.likelihood.reuse.save_file", full)
    base, other = pair(0)
    np.testing.assert_array_equal(score(other, between(quiet(ENOUGH), base, other)), score(other, None))
    assert not [path for path in states.rglob("*") if path.is_file() and path.name != ".lock"]


def test_while_another_process_adds_states_this_one_reads_and_adds_none(
    score: Callable[..., Any], states: Path
) -> None:
    base, other = pair(0)
    states.mkdir(parents=True)
    with FileLock(states / ".lock"):
        score(base, between(quiet(ENOUGH), base, other))
    assert not files(states)
    score(base, between(quiet(ENOUGH), base, other))
    said: list[str] = []
    with FileLock(states / ".lock"):
        resumed = score(other, between(StateCache(ENOUGH, said.append), base, other))
    assert said
    np.testing.assert_array_equal(resumed, score(other, None))


def test_it_is_off_where_it_does_not_pay(states: Path) -> None:
    base, other = pair(0)
    assert quiet(0).between(base, fingerprint(base), fingerprint(other)) is None
    decoder_blocks(other)[1][0].mlp.up_proj.weight.data *= 1.01
    assert quiet(ENOUGH).between(base, fingerprint(base), fingerprint(other)) is None


# What befalls the states


def half_of_it(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_numbers(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes(40))


@pytest.mark.parametrize("damage", [half_of_it, other_numbers, Path.unlink])
def test_damaged_states_are_not_used_and_are_replaced(
    damage: Callable[[Path], None], score: Callable[..., Any], states: Path
) -> None:
    base, other = pair(0)
    score(base, between(quiet(ENOUGH), base, other))
    good = {path: path.read_bytes() for path in files(states)}
    for path in good:
        damage(path)
    in_full = score(other, None)
    for _ in range(2):
        np.testing.assert_array_equal(score(other, between(quiet(ENOUGH), base, other)), in_full)
    assert {path: path.read_bytes() for path in files(states)} == good


def test_another_process_may_remove_the_folder_at_any_time(score: Callable[..., Any], states: Path) -> None:
    base, other = pair(0)
    in_full = score(other, None)
    for forwards in range(8):  # and every time the folder goes a little later
        left = forwards

        def remove(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                shutil.rmtree(states)

        score(base, between(quiet(ENOUGH), base, other))
        handle = other.lm_head.register_forward_pre_hook(remove)
        np.testing.assert_array_equal(score(other, between(quiet(ENOUGH), base, other)), in_full)
        handle.remove()
        assert left <= 0


# What may share states


def test_states_serve_every_edit_that_first_differs_at_their_block(score: Callable[..., Any], states: Path) -> None:
    base = tiny_model("llama", num_hidden_layers=4)
    expected = [(2, False), (2, True), (3, False), (3, True), (1, False), (2, True)]
    for number, (block, resumed) in enumerate(expected):
        other = another(base, block, 1.01 + number / 1000)
        said: list[str] = []
        found = score(other, between(StateCache(ENOUGH, said.append), base, other))
        share = {1: "25%", 2: "50%", 3: "75%"}
        assert said == [f"scoring resumes after block {block} of 4: {share[block]} of the blocks are skipped"] * resumed
        np.testing.assert_array_equal(found, score(other, None))
    assert {path.name.split("-")[1] for path in states.glob("*/*")} == {"1", "2", "3"}


def test_whichever_is_scored_first_leaves_the_same_states(score: Callable[..., Any], states: Path) -> None:
    base, other = pair(0)
    score(base, between(quiet(ENOUGH), base, other))
    by_base = {path: path.read_bytes() for path in files(states)}
    shutil.rmtree(states)
    score(other, between(quiet(ENOUGH), base, other))
    assert {path: path.read_bytes() for path in files(states)} == by_base


@pytest.mark.parametrize("change", [{"sliding_window": 200}, {"rope_parameters": {"rope_theta": 50.0}}])
def test_another_configuration_shares_nothing(change: dict[str, Any], score: Callable[..., Any]) -> None:
    """A longer window shows in no score of these short texts; the probe would not find it out."""
    base = tiny_model("mistral", sliding_window=100)
    other = tiny_model("mistral", **({"sliding_window": 100} | change))
    other.lm_head.weight.data *= 1.01
    said: list[str] = []
    cache = StateCache(ENOUGH, said.append)
    score(base, between(cache, base, other))
    in_full = score(other, None)
    np.testing.assert_array_equal(score(other, between(cache, base, other)), in_full)
    assert not said
    score(other, between(cache, base, other))
    assert said


def test_settings_that_do_not_bear_on_the_states_do_not_part_them(score: Callable[..., Any]) -> None:
    base, other = pair(0)
    other.config.pad_token_id = 1  # as every finetuning script does
    said: list[str] = []
    cache = StateCache(ENOUGH, said.append)
    score(base, between(cache, base, other))
    score(other, between(cache, base, other))
    assert said


def test_edited_senses_of_a_backpack_are_scored_from_its_bases_states(score: Callable[..., Any]) -> None:
    base = tiny_model("backpack")
    other = copy.deepcopy(base)
    other.edit_senses(torch.arange(5, 20), torch.zeros(15, dtype=torch.long)).deltas.data += 0.5
    said: list[str] = []
    cache = StateCache(ENOUGH, said.append)
    score(base, between(cache, base, other))
    np.testing.assert_array_equal(score(other, between(cache, base, other)), score(other, None))
    assert said == ["scoring resumes after block 2 of 2: 100% of the blocks are skipped"]


def test_a_score_in_the_journal_is_never_computed_again(tmp_path: Path, states: Path) -> None:
    base, other = pair(0)
    found = between(quiet(ENOUGH), base, other)
    store = Store(tmp_path / "scores", lambda _line: None)
    subject = ScoredModel(other, fingerprint(other))
    first = measure(subject, [unit()], store, Progress(), batch_tokens=40, label="", reuse=Reuse(found))
    shutil.rmtree(states)
    calls: list[int] = []
    other.lm_head.register_forward_pre_hook(lambda *_: calls.append(1))
    again = measure(subject, [unit()], store, Progress(), batch_tokens=40, label="", reuse=Reuse(found))
    np.testing.assert_array_equal(again["towns"].sums, first["towns"].sums)
    assert not states.exists()
    assert len(calls) == 0
