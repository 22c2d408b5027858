"""A method works in a process that it shares: what it leaves changed is put back, and its random state is seeded."""

from __future__ import annotations

import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import candidate_methods
import numpy as np
import pytest
import torch

from canonbench.errors import CanonbenchError
from canonbench.results.row import Row
from canonbench.runs.edit import edit
from canonbench.runs.progress import Progress


def run_edit(world: Path, method: Any, **how: Any) -> tuple[Row, list[str]]:
    notes: list[str] = []
    settings = {"suite": str(world / "suite"), "tasks": "country"} | how
    return edit(method, str(world / "base"), progress=Progress(say=notes.append), **settings), notes


def numbers(row: Row) -> Any:
    """A row without what belongs to the run and not to the model."""
    return row.model_dump(exclude={"seconds", "peak_memory_bytes", "created"})


def test_a_method_that_calls_sys_exit_ends_its_trial_and_not_the_run(world: Path) -> None:
    with pytest.raises(CanonbenchError, match=r"country seed 0: the method called sys.exit\(3\) after 0 candidates"):
        run_edit(world, candidate_methods.exits)
    row, notes = run_edit(world, candidate_methods.then_exits, seeds=2)
    assert row.leagues is not None
    assert row.leagues["1e-3"].tasks["country"].candidate == 1
    assert sum("called sys.exit(3) after 1 candidates" in note for note in notes) == 2


def shared_state() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), np.geterr(), str(Path.cwd()),
        dict(os.environ), list(warnings.filters), signal.getsignal(signal.SIGTERM), random.getstate(),
        np.random.get_state(legacy=True)[1].tolist(), torch.get_rng_state().tolist(),
    )  # fmt: skip


def test_what_a_method_leaves_changed_is_its_own_and_nobody_elses(world: Path) -> None:
    before = shared_state()
    candidate_methods.STILL.clear()
    row, _ = run_edit(world, candidate_methods.careless, seeds=2)
    assert shared_state() == before
    # it goes on where it was, so its own 'with' blocks end as they should
    assert [each[:3] for each in candidate_methods.STILL] == [(0, torch.float64, False), (1, torch.float64, False)] * 2
    assert {each[3] for each in candidate_methods.STILL} == {"/"}
    assert row.leagues is not None
    seeds = row.leagues["1e-3"].tasks["country"].seeds
    assert seeds is not None
    assert seeds[0].ratio == seeds[1].ratio  # the second was trained and scored as the first
    assert row.dtype == "float32"


def test_a_method_that_is_not_asked_for_more_may_not_end_the_run(world: Path, tmp_path: Path) -> None:
    val, _ = run_edit(world, candidate_methods.growing, run=tmp_path / "val", settings={"by": 1e-5, "epochs": 2})
    assert val.leagues is not None
    assert val.leagues["1e-3"].tasks["country"].candidate
    dtype = torch.get_default_dtype()

    def growing(model: Any, tokenizer: Any, request: Any) -> Any:
        return candidate_methods.never_ending(model, tokenizer, request)

    test, _ = run_edit(world, growing, split="test", seeds=2, chosen=tmp_path / "val", settings=None)
    assert test.split == "test"
    assert torch.get_default_dtype() == dtype


def test_the_global_random_states_are_seeded_and_the_callers_left_alone(world: Path) -> None:
    states = []
    rows = []
    for seed in (11, 22):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = shared_state()
        rows.append(run_edit(world, candidate_methods.drawing, seeds=2)[0])
        assert shared_state() == before
        states.append(before)
    assert states[0] != states[1]
    assert numbers(rows[0]) == numbers(rows[1])
    assert rows[0].leagues is not None
    seeds = rows[0].leagues["1e-3"].tasks["country"].seeds
    assert seeds is not None
    assert seeds[0].ratio != seeds[1].ratio


def test_a_method_that_draws_from_global_states_gives_the_same_row_after_a_resume(world: Path, tmp_path: Path) -> None:
    whole, _ = run_edit(world, candidate_methods.drawing, run=tmp_path / "whole", seeds=2)

    class Impatient(Progress):
        """Ctrl-C after the second candidate of the second seed."""

        def advance(self, tokens: int, what: str) -> None:
            if "seed 1 candidate 2" in what:
                raise KeyboardInterrupt
            super().advance(tokens, what)

    asked = {"suite": str(world / "suite"), "tasks": "country", "run": tmp_path / "run", "seeds": 2}
    with pytest.raises(KeyboardInterrupt):
        edit(candidate_methods.drawing, str(world / "base"), progress=Impatient(), **asked)
    random.random()
    torch.rand(1)
    again, _ = run_edit(world, candidate_methods.drawing, **asked)
    assert numbers(again) == numbers(whole)


IMPORTED = """\
import os, warnings
import torch
torch.set_default_dtype(torch.float64)
os.environ["CANONBENCH_TEST_IMPORT"] = "1"
def edit(model, tokenizer, request):
    assert torch.get_default_dtype() == torch.float64 and "CANONBENCH_TEST_IMPORT" in os.environ
    model.get_parameter("model.layers.1.mlp.down_proj.weight").data.mul_(1 + 1e-5)
    return model
"""


def test_what_importing_a_method_sets_holds_for_the_method_alone(world: Path, tmp_path: Path) -> None:
    (tmp_path / "sets.py").write_text(IMPORTED, encoding="utf-8")
    before = shared_state()
    row, _ = run_edit(world, tmp_path / "sets.py", seeds=2)
    assert shared_state() == before
    assert row.leagues is not None
    assert row.leagues["1e-3"].tasks["country"].candidate == 1


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import sys; sys.exit('no')"])
def test_a_method_that_ends_the_program_when_it_is_imported_is_told_in_one_line(
    world: Path, tmp_path: Path, code: str
) -> None:
    (tmp_path / "ends.py").write_text(f"{code}\n", encoding="utf-8")
    with pytest.raises(
        CanonbenchError, match=r"ends.py cannot be imported: it ends the program \(sys.exit\("
    ) as caught:
        run_edit(world, tmp_path / "ends.py")
    assert "\n" not in str(caught.value)
