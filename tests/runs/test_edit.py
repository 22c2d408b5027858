"""Edit runs: candidates are measured, chosen by the protocol, kept, and opened again to the same numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import candidate_methods
import pytest
import torch

from canonbench import evaluate
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.fingerprint import fingerprint
from canonbench.results.candidates import Candidate
from canonbench.results.row import Row
from canonbench.runs.edit import edit
from canonbench.runs.progress import Progress
from tiny_models import save_tiny, tiny_model, tiny_tokenizer


def run_edit(world: Path, method: Any, **how: Any) -> tuple[Row, list[str]]:
    notes: list[str] = []
    settings = {"model": str(world / "base"), "suite": str(world / "suite"), "tasks": "country"} | how
    row = edit(method, settings.pop("model"), progress=Progress(say=notes.append), **settings)
    return row, notes


def trajectory(run: Path) -> list[Candidate]:
    return [Candidate(**json.loads(line)) for line in (run / "candidates.jsonl").read_text().splitlines()]


def fixed(world: Path, artefact: Path, task: str = "country", split: str = "val") -> Row:
    return evaluate(str(artefact), suite=str(world / "suite"), tasks=task, split=split)


@pytest.mark.parametrize("task", ["country", "gender", "mine"])
def test_a_kept_candidate_opened_by_evaluate_has_the_numbers_of_the_edit_run(
    world: Path, tmp_path: Path, task: str
) -> None:
    row, _ = run_edit(world, candidate_methods.growing, tasks=task, run=tmp_path / "run", keep="all")
    found = trajectory(tmp_path / "run")
    assert [each.number for each in found] == [1, 2, 3]
    for each in found:
        opened = fixed(world, tmp_path / f"run/artefacts/{task}/seed-0/candidate-{each.number}", task)
        assert opened.general is not None
        assert opened.tasks is not None
        assert opened.general.ratio == round(each.ratio, 9)
        assert opened.general.leagues == {label: "in" if inside else "out" for label, inside in each.leagues.items()}
        if each.success is not None:
            assert opened.tasks[task].success.edited == round(each.success, 6)
    assert row.leagues is not None
    for label, league in row.leagues.items():
        result = league.tasks[task]
        if result.candidate:
            opened = fixed(world, tmp_path / f"run/artefacts/{task}/seed-0/candidate-{result.candidate}", task)
            assert opened.tasks is not None
            same = opened.tasks[task].model_dump()
            assert {key: result.model_dump()[key] for key in same} == same, label


def test_only_what_a_league_took_is_kept_unless_all_or_none_is_asked_for(world: Path, tmp_path: Path) -> None:
    row, _ = run_edit(world, candidate_methods.growing, run=tmp_path / "best")
    assert row.leagues is not None
    taken = {f"candidate-{each.tasks['country'].candidate}" for each in row.leagues.values()} - {"candidate-None"}
    kept = {path.name for path in (tmp_path / "best").glob("artefacts/country/seed-0/*")}
    assert kept == taken
    run_edit(world, candidate_methods.growing, run=tmp_path / "none", keep="none")
    assert not list((tmp_path / "none").rglob("candidate-*"))
    with pytest.raises(UsageError, match="keep must be"):
        run_edit(world, candidate_methods.growing, keep="some")


def test_what_is_in_no_league_is_asked_nothing_else_and_rejected_early(world: Path, tmp_path: Path) -> None:
    row, notes = run_edit(world, candidate_methods.ruinous, run=tmp_path / "run", batch_tokens=40)
    (candidate,) = trajectory(tmp_path / "run")
    assert candidate.rejected
    assert candidate.ratio > 1 + 1e-3
    assert candidate.success is None
    assert row.leagues is not None
    assert all(each.tasks["country"].candidate is None for each in row.leagues.values())
    assert all(each.average.success.delta == 0 for each in row.leagues.values())
    assert any("in no league" in note for note in notes)
    scored = [json.loads(line) for path in (tmp_path / "run/scores").glob("*.jsonl") for line in path.open()]
    assert 0 < sum(len(entry["requests"]) for entry in scored) < 12


def test_a_test_run_goes_as_far_as_the_val_run_chose_and_repeats_over_seeds(world: Path, tmp_path: Path) -> None:
    val, _ = run_edit(world, candidate_methods.growing, run=tmp_path / "val", settings={"by": 1e-5, "epochs": 4})
    test, _ = run_edit(
        world, candidate_methods.growing, run=tmp_path / "test", split="test", chosen=tmp_path / "val", seeds=3
    )
    assert val.leagues is not None
    assert test.leagues is not None
    assert test.hyperparameters == {"by": 1e-5, "epochs": 4}
    for label, league in test.leagues.items():
        result = league.tasks["country"]
        assert result.candidate == val.leagues[label].tasks["country"].candidate
        assert result.seeds is not None
        assert [each.seed for each in result.seeds] == [0, 1, 2]
        assert len({each.ratio for each in result.seeds}) == 3  # seeds are honoured
        assert all((each.candidate or 0) <= (result.candidate or 0) for each in result.seeds)
        assert result.standard_error is not None
    with pytest.raises(UsageError, match="leave --set out"):
        run_edit(world, candidate_methods.growing, split="test", chosen=tmp_path / "val", settings={"by": 1})
    with pytest.raises(UsageError, match="add --split test"):
        run_edit(world, candidate_methods.growing, chosen=tmp_path / "val")
    with pytest.raises(UsageError, match="method 'growing'"):
        run_edit(world, candidate_methods.plain, split="test", chosen=tmp_path / "val")
    with pytest.raises(UsageError, match="task 'gender'"):
        run_edit(world, candidate_methods.growing, split="test", chosen=tmp_path / "val", tasks="gender")


def test_on_test_only_the_candidates_that_decide_are_measured(world: Path, tmp_path: Path) -> None:
    run_edit(world, candidate_methods.growing, run=tmp_path / "run", split="test", seeds=1, settings={"by": 1e-7})
    assert [each.number for each in trajectory(tmp_path / "run")] == [3]


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("untouched", "nothing but the unedited model"),
        ("raises", "the method raised ValueError after 0 candidates: no idea"),
        ("nan", "candidate 1: weight .*down_proj.* NaN"),
        ("overflowing", "candidate 1: .*logits are NaN or infinite"),
        ("other_architecture", "a different architecture: its tensors"),
        ("other_vocabulary", "a different architecture: 400 output rows, the base has 384"),
        ("no_model", "must return or yield a causal language model, not str"),
    ],
)
def test_a_method_that_gives_nothing_to_score_is_told_why_in_one_line(world: Path, method: str, line: str) -> None:
    with pytest.raises(CanonbenchError, match=line) as caught:
        run_edit(world, getattr(candidate_methods, method))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("country seed 0")


@pytest.mark.parametrize("method", ["then_raises", "then_nan"])
def test_candidates_yielded_before_a_failure_count(world: Path, tmp_path: Path, method: str) -> None:
    row, notes = run_edit(world, getattr(candidate_methods, method), run=tmp_path / "run")
    assert [each.number for each in trajectory(tmp_path / "run")] == [1]
    assert row.leagues is not None
    assert row.leagues["1e-3"].tasks["country"].candidate == 1
    assert any("the one before it counts" in note for note in notes)


def test_training_mode_is_said_and_undone_for_scoring(world: Path) -> None:
    row, notes = run_edit(world, candidate_methods.training_mode)
    assert any("in training mode" in note for note in notes)
    assert row.leagues is not None


def test_a_model_in_memory_stays_as_it_is(world: Path) -> None:
    model, tokenizer = tiny_model("llama", seed=3), tiny_tokenizer("bos")
    before, twin = fingerprint(model), copy.deepcopy(model)
    row, _ = run_edit(world, candidate_methods.growing, model=model, tokenizer=tokenizer)
    assert fingerprint(model) == before
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert row.model.source == "memory"
    test, _ = run_edit(world, candidate_methods.growing, model=model, tokenizer=tokenizer, split="test", seeds=1)
    assert test.split == "test"


def test_a_method_sees_the_canonical_examples_and_nothing_that_leaks(world: Path) -> None:
    candidate_methods.SEEN.clear()
    run_edit(world, candidate_methods.seen, tasks="gender", seeds=2)
    first, second = candidate_methods.SEEN
    assert (first.task, first.loss, first.seed, second.seed) == ("gender", "balance", 0, 1)
    assert [example.suffix_b for example in first.canonical] == [" she"] * 3
    told = json.dumps([list(first.regularization), [list(each) for each in first.canonical]])
    suite = world / "suite"
    for name in ("gender/val-hard_negatives", "general/val", "general/test"):
        rows = [json.loads(line) for line in (suite / f"{name}.jsonl").open()]
        assert not any((row.get("text") or row["prefix"]) in told for row in rows), name
    assert len(first.regularization) == 12


def test_the_base_is_proved_by_fingerprint_before_every_trial(world: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", "llama", tokenizer="bos")

    def overwrites_the_base(model: Any, tokenizer: Any, request: Any) -> Any:
        candidate_methods.down(model).mul_(1 + 1e-5)
        model.save_pretrained(tmp_path / "base")
        return model

    with pytest.raises(CanonbenchError, match="has changed since this run began"):
        run_edit(world, overwrites_the_base, model=str(tmp_path / "base"), seeds=2)


def test_a_finished_run_is_not_run_again_and_another_one_is_refused_its_folder(world: Path, tmp_path: Path) -> None:
    first, _ = run_edit(world, candidate_methods.growing, run=tmp_path / "run")
    again, notes = run_edit(world, candidate_methods.growing, run=tmp_path / "run")
    assert again == first
    assert any("already complete" in note for note in notes)
    with pytest.raises(CanonbenchError, match=r"another run \(hyperparameters"):
        run_edit(world, candidate_methods.growing, run=tmp_path / "run", settings={"by": 2e-4})


def test_leagues_can_be_named_and_the_row_has_no_others(world: Path) -> None:
    row, _ = run_edit(world, candidate_methods.growing, leagues=["1e-2", "1e-3"])
    assert row.leagues is not None
    assert list(row.leagues) == ["1e-2", "1e-3"]


def test_hyperparameters_are_checked_before_anything_is_loaded(world: Path) -> None:
    with pytest.raises(UsageError, match="epoch"):
        run_edit(world, candidate_methods.growing, settings={"epoch": 2}, model="no-such-model")


def test_a_model_that_the_method_is_not_for_is_refused_before_it_is_scored(world: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    asked = {"suite": str(world / "suite"), "tasks": "country", "run": tmp_path / "run"}
    with pytest.raises(CanonbenchError, match="LlamaForCausalLM has no senses"):
        edit("senses", str(world / "base"), progress=Progress(say=notes.append), **asked)
    assert len(notes) == 1  # what was asked for; nothing is scored
    assert not (tmp_path / "run").exists()


def test_an_edit_run_needs_general_text(world: Path) -> None:
    with pytest.raises(CanonbenchError, match="judged by its leagues"):
        run_edit(world, candidate_methods.growing, general="none")
