"""From edit runs of different tasks to one merged artefact and its row on the joint track."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from candidate_methods import Growing

from canonbench.editing.contract import EditRequest
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.artefacts.artefact import save_artefact
from canonbench.models.artefacts.edit_file import EditFile
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import Loading, load_model
from canonbench.results.row import Row
from canonbench.runs.edit import edit
from canonbench.runs.evaluate import evaluate
from canonbench.runs.merge import merge_edits
from canonbench.runs.merge_parts import MergeRecord, record_of
from mini_slice import write_mini_slice
from tiny_models import save_tiny

LAYERS = {"country": "transformer.h.0.mlp.c_fc.weight", "gender": "transformer.h.1.mlp.c_fc.weight"}
MEDIAN = "unknown --how 'median', must be one of dare, mean, ties, union. Did you mean 'mean'?"
BOTH = "transformer.ln_f.weight"


def scaling(model: Any, tokenizer: Any, request: EditRequest[Growing]) -> Any:
    """Scales a layer of the task's own and one that all tasks share; later candidates, and seeds, further."""
    for step in range(2):
        for name in (LAYERS.get(request.task, "transformer.h.0.ln_1.weight"), BOTH):
            model.state_dict()[name].mul_(1 + request.hyperparameters.by * (1 + step + request.seed))
        yield model


scaling.Settings = Growing  # type: ignore[attr-defined]


def harmful(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """Outside every league for gender."""
    by = 3.0 if request.task == "gender" else 1 + 1e-6
    model.state_dict()[BOTH].mul_(by)
    return model


def lora(model: Any, tokenizer: Any, request: EditRequest[Any]) -> Any:
    """An adapter, of a rank of the task's own."""
    rank = {"country": 2, "gender": 3}[request.task]
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_fc"], r=rank, fan_in_fan_out=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rank)
        adapted = peft.get_peft_model(model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.data = 1e-4 * torch.randn_like(parameter)
    return adapted


def run_edit(world: Path, method: Callable[..., Any], name: str, tasks: str, **how: Any) -> Path:
    edit(method, str(world / "base"), tasks=tasks, suite=world / "suite", run=world / name, **how)
    return world / name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to by a test: a suite, two bases, and finished edit runs."""
    folder = tmp_path_factory.mktemp("world")
    write_mini_slice(folder / "suite")
    for seed, name in enumerate(("base", "other")):
        save_tiny(folder / name, "gpt2", tokenizer="bos", n_positions=2048, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANONBENCH_CACHE", str(folder / "cache"))
        for task in ("country", "gender"):
            run_edit(folder, scaling, task, task)
            run_edit(folder, lora, f"lora-{task}", task)
        run_edit(folder, harmful, "harmful", "country,gender")
        run_edit(folder, harmful, "nothing", "gender")
        run_edit(folder, scaling, "seeds", "country", seeds=2)
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_model(folder, Loading()).model.state_dict()
    return found


def candidate(world: Path, run: str, task: str, seed: int = 0) -> Path:
    row = Row.read(world / run / "row.json")
    number = (row.leagues or {})["1e-3"].tasks[task].seeds[seed].candidate  # type: ignore[index]
    return world / run / f"artefacts/{task}/seed-{seed}/candidate-{number}"


def refusal(error: type[CanonbenchError], *given: Path, out: Path, **how: Any) -> str:
    with pytest.raises(error) as caught:
        merge_edits(given, out, **how)
    assert "\n" not in str(caught.value)
    assert not out.exists() or not (out / "canonbench_edit.json").exists()
    return str(caught.value)


def test_two_runs_become_the_mean_of_the_models_that_their_league_chose(world: Path, tmp_path: Path) -> None:
    record = merge_edits([world / "country", world / "gender"], tmp_path / "joint")
    one, two, base = (
        state(each)
        for each in (candidate(world, "country", "country"), candidate(world, "gender", "gender"), world / "base")
    )
    merged = state(tmp_path / "joint")
    for name in merged:
        expected = ((one[name].double() + two[name].double()) / 2).float()
        assert torch.equal(merged[name], expected), name
    changed = {name for name in merged if not torch.equal(merged[name], base[name])}
    assert changed == {*LAYERS.values(), BOTH}
    assert (record.how, record.league, record.unedited) == ("mean", "1e-3", [])
    assert [(each.task, each.method, each.run) for each in record.edits] == [
        ("country", "scaling", str(world / "country")),
        ("gender", "scaling", str(world / "gender")),
    ]
    assert record_of(EditFile.read(tmp_path / "joint")) == record


@pytest.mark.parametrize("how", [{"how": "mean"}, {"how": "ties"}, {"how": "dare", "seed": 3, "density": 0.5}])
@pytest.mark.parametrize("prefix", ["", "lora-"])
def test_the_artefact_opens_as_what_was_merged_in_whatever_order(
    prefix: str, how: dict[str, Any], world: Path, tmp_path: Path
) -> None:
    runs = [world / f"{prefix}country", world / f"{prefix}gender"]
    merge_edits(runs, tmp_path / "one", **how)
    merge_edits(runs[::-1], tmp_path / "two", **how)
    first, second = EditFile.read(tmp_path / "one"), EditFile.read(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    opened = fingerprint(load_model(tmp_path / "one", Loading()).model)
    assert (opened.weights, opened.config) == (first.fingerprint.weights, first.fingerprint.config)
    assert first.kind == ("peft" if prefix else "delta")


def test_what_dare_drops_follows_its_seed(world: Path, tmp_path: Path) -> None:
    marks = []
    before = torch.random.get_rng_state()
    for number, seed in enumerate((0, 0, 1)):
        merge_edits([world / "country", world / "gender"], tmp_path / str(number), how="dare", seed=seed)
        marks.append(EditFile.read(tmp_path / str(number)).fingerprint.weights)
    assert marks[0] == marks[1] != marks[2]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_row_of_a_merged_model_is_joint_and_says_what_each_task_lost(world: Path, tmp_path: Path) -> None:
    merge_edits([world / "country", world / "gender"], tmp_path / "joint")
    row = evaluate(tmp_path / "joint", suite=world / "suite", split="val", run=tmp_path / "run")
    assert row.track == "joint"
    assert row.average is not None
    assert row.average.complete
    assert row.merged is not None
    assert (row.merged.how, row.merged.methods, row.merged.league) == ("mean", ("scaling",), "1e-3")
    for task in ("country", "gender"):
        own = Row.read(world / task / "row.json").leagues["1e-3"].tasks[task].success.delta  # type: ignore[index]
        found = row.merged.edits[task]
        assert found.own_delta == pytest.approx(own, abs=2e-6)
        assert found.against_own == pytest.approx(row.tasks[task].success.delta - own, abs=4e-6)  # type: ignore[index]
    assert Row.read(tmp_path / "run/row.json") == row
    assert json.loads((tmp_path / "run/row.json").read_text(encoding="utf-8"))["merged"]["how"] == "mean"


def test_on_other_data_nothing_is_said_of_a_loss(world: Path, tmp_path: Path) -> None:
    merge_edits([world / "country", candidate(world, "gender", "gender")], tmp_path / "joint")
    other = evaluate(tmp_path / "joint", suite=world / "suite", split="test", tasks="country")
    assert other.merged is not None
    assert [(each.own_delta, each.against_own) for each in other.merged.edits.values()] == [(None, None)] * 2
    same = evaluate(tmp_path / "joint", suite=world / "suite", split="val", tasks="gender,verb")
    assert same.merged is not None
    assert same.merged.edits["country"].own_delta is not None  # known, but the task was not asked
    assert same.merged.edits["country"].against_own is None
    assert same.merged.edits["gender"].own_delta is None  # of an artefact that was named itself


def test_a_task_left_unedited_is_said_and_left_out(world: Path, tmp_path: Path) -> None:
    said: list[str] = []
    record = merge_edits([world / "harmful"], tmp_path / "joint", say=said.append)
    assert said == ["gender: left unedited in league 1e-3, so it has no part in the merge"]
    assert ([each.task for each in record.edits], record.unedited) == (["country"], ["gender"])
    alone = EditFile.read(candidate(world, "harmful", "country"))
    assert EditFile.read(tmp_path / "joint").fingerprint == alone.fingerprint
    says = refusal(CanonbenchError, world / "nothing", out=tmp_path / "new")
    assert says == "no task was edited in league 1e-3: there is nothing to merge"


def test_of_several_seeds_one_is_merged(world: Path, tmp_path: Path) -> None:
    merge_edits([world / "seeds", world / "gender"], tmp_path / "joint", edit_seed=0)
    says = refusal(UsageError, world / "seeds", world / "gender", out=tmp_path / "new", edit_seed=1)
    assert says == f"{world / 'gender'} has no seed 1 of gender, only 0"
    record = merge_edits([world / "seeds"], tmp_path / "second", edit_seed=1)
    assert record.edits[0].seed == 1
    own = Row.read(world / "seeds/row.json").leagues["1e-3"].tasks["country"]  # type: ignore[index]
    assert own.seeds is not None
    assert record.edits[0].own is not None
    assert record.edits[0].own.delta == pytest.approx(own.seeds[1].success - (own.success.base or 0))


def test_what_does_not_go_together_is_one_line(world: Path, tmp_path: Path) -> None:
    out, country, gender = tmp_path / "joint", world / "country", world / "gender"
    elsewhere = tmp_path / "elsewhere"
    edit(scaling, str(world / "other"), tasks="gender", suite=world / "suite", run=elsewhere)
    assert "cannot be merged: they differ in their base" in refusal(CanonbenchError, country, elsewhere, out=out)
    says = refusal(CanonbenchError, country, world / "lora-gender", out=out)
    assert says.endswith("cannot be merged: they differ in their kind (delta and peft)")
    assert "has task 'country' as well; give every task once" in refusal(
        CanonbenchError, country, world / "seeds", out=out
    )
    none = tmp_path / "none"
    edit(scaling, str(world / "base"), tasks="gender", suite=world / "suite", run=none, keep="none")
    assert "(was it run with --keep none?); repeat the run" in refusal(CanonbenchError, country, none, out=out)
    assert "is no edit run" in refusal(CanonbenchError, scored(world, tmp_path / "scored"), out=out)
    assert "holds neither a finished run" in refusal(CanonbenchError, world / "base", out=out)
    assert "no such folder" in refusal(UsageError, tmp_path / "gone", out=out)
    says = refusal(UsageError, country, out=out, league="1e-33")
    assert "unknown league '1e-33'" in says
    (tmp_path / "there").mkdir()
    assert "is there already; give a new folder" in refusal(UsageError, country, gender, out=tmp_path / "there")


def scored(world: Path, run: Path) -> Path:
    evaluate(world / "base", suite=world / "suite", tasks="gender", general="none", limit=1, run=run)
    return run


@pytest.mark.parametrize(
    ("run", "how", "says"),
    [
        ("country", {"how": "median"}, MEDIAN),
        ("country", {"how": "union"}, "--how union is not for edits of kind delta; give mean or ties or dare"),
        ("country", {"density": 0.5}, "--density: mean drops no changes; leave it out"),
        ("country", {"how": "ties", "density": 0.0}, "--density must be above 0 and at most 1, got 0.0"),
        ("country", {"how": "ties", "seed": 1}, "--seed: only dare draws at random; leave it out"),
        ("country", {"rank": 4}, "--rank: edits of kind delta have none; leave it out"),
        ("lora-country", {"rank": 0}, "--rank must be a whole number from 1 to 2147483647, got 0"),
        ("artefact", {"league": "1e-4"}, "--league: it chooses from runs, and only artefacts are given; leave it out"),
        ("artefact", {"edit_seed": 0}, "--edit-seed: it chooses from runs, and only artefacts are given; leave it out"),
    ],
)  # fmt: skip
def test_an_option_that_means_nothing_is_refused(
    run: str, how: dict[str, Any], says: str, world: Path, tmp_path: Path
) -> None:
    given = candidate(world, "country", "country") if run == "artefact" else world / run
    assert refusal(UsageError, given, out=tmp_path / "joint", **how) == says


def test_an_edit_without_weights_cannot_be_merged(world: Path, tmp_path: Path) -> None:
    loaded = load_model(world / "base", Loading())
    mark = fingerprint(loaded.model)
    record = {"method": "in-context", "hyperparameters": {}, "task": "verb", "split": "val", "seed": 0, "candidate": 1}
    told = InContext(loaded.model, [3, 4])
    save_artefact(told, tmp_path / "told", base=loaded.source, base_fingerprint=mark, record=record)
    says = refusal(CanonbenchError, tmp_path / "told", out=tmp_path / "joint")
    assert says == "in-context edits cannot be merged: they change no weights"


def test_an_artefact_that_does_not_say_its_task_or_is_merged_already_is_refused(world: Path, tmp_path: Path) -> None:
    merge_edits([world / "country"], tmp_path / "joint")
    says = refusal(CanonbenchError, tmp_path / "joint", out=tmp_path / "again")
    assert says.startswith(f"{tmp_path / 'joint'} is not what an edit run kept of one task")


def test_a_base_that_has_moved_can_be_given(world: Path, tmp_path: Path) -> None:
    says = refusal(CanonbenchError, world / "country", out=tmp_path / "joint", base=world / "other")
    assert f"{world / 'other'} is not the model that" in says
    shutil.copytree(world / "base", tmp_path / "moved")
    merge_edits([world / "country", world / "gender"], tmp_path / "joint", base=tmp_path / "moved")
    assert EditFile.read(tmp_path / "joint").base.name == str(tmp_path / "moved")


def test_a_damaged_record_is_named(world: Path, tmp_path: Path) -> None:
    record = merge_edits([world / "country"], tmp_path / "joint")
    content = EditFile.read(tmp_path / "joint")
    broken = {**record.model_dump(mode="json"), "how": "guess"}
    content.model_copy(update={"record": {"merged": broken}}).write(tmp_path / "joint")
    with pytest.raises(CanonbenchError, match=r"canonbench_edit.json is damaged: merged: how: Input should be 'mean'"):
        evaluate(tmp_path / "joint", suite=world / "suite", tasks="gender", general="none", limit=1)


def test_senses_are_merged_by_union(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "backpack", tokenizer="bos")
    given: list[Path] = []
    for seed, (task, token) in enumerate((("country", 7), ("gender", 9))):
        loaded = load_model(base, Loading())
        mark = fingerprint(loaded.model)
        edited = loaded.model.edit_senses(torch.tensor([5, token]), torch.tensor([1, seed]))
        edited.deltas.data.copy_(torch.full((2, 32), 1.0 + seed))
        said = {"method": "senses", "hyperparameters": {}, "task": task, "split": "val", "seed": 0, "candidate": 1}
        given.append(tmp_path / task)
        save_artefact(loaded.model, given[-1], base=loaded.source, base_fingerprint=mark, record=said)
    record = merge_edits(given, tmp_path / "joint")
    assert isinstance(record, MergeRecord)
    assert record.how == "union"
    found = load_model(tmp_path / "joint", Loading()).model.backpack.sense_edit
    assert list(zip(found.token_ids.tolist(), found.sense_ids.tolist(), strict=True)) == [(5, 1), (7, 0), (9, 1)]
    assert [row.unique().tolist() for row in found.deltas] == [[1.5], [1.0], [2.0]]
    says = refusal(UsageError, *given, out=tmp_path / "new", how="mean")
    assert says == "--how mean is not for edits of kind senses; give union"
