"""Repeat the run of a row on the board, and compare the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError, UsageError
from canonbench.models import Loading, Trust, fingerprint
from canonbench.results import (
    AVERAGE,
    Checkout,
    Compared,
    Flag,
    PlacedRow,
    Provenance,
    Row,
    compared,
    find_checkout,
    for_task,
    read_rows,
)
from canonbench.runs import Chosen, Progress, edit, free, model_handles, read_merged, require_batch_tokens
from canonbench.submissions.draft import submitted_row
from canonbench.submissions.staging import Changed, publish, require_valid, rows_of, set_rows, staged_copy
from canonbench.suite import NAMES, Suite


@dataclass(frozen=True)
class Reproduction:
    """A row, its repetition, and the comparison of their numbers."""

    placed: PlacedRow
    again: Row
    """The row of the repetition: state ``measured``, or ``reproduced`` once it is on the board."""
    compared: tuple[Compared, ...]
    changed: Changed | None
    """Files written to the checkout; None if nothing was written."""

    @property
    def agrees(self) -> bool:
        """Whether every number is within its tolerance."""
        return all(each.agrees for each in self.compared)


def reproduce(
    wanted: str,
    *,
    root: str | Path | None = None,
    run: str | Path | None = None,
    write: bool = False,
    tolerance: float = AVERAGE,
    model: str | Path | None = None,
    suite: str | Path | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Reproduction:
    """Repeat the run of a row: its submission's method, its base, data, hyperparameters, seeds and leagues.

    Args:
        wanted: the row's id, a prefix of it, or its place, ``NAME.jsonl:1``.
        root: the checkout, or a folder in it; None for that of the working folder.
        run: the run folder; None makes one under ``canonbench-runs/``.
        write: if they agree, put the repetition on the board and flag the row superseded.
        tolerance: points by which a league's average success may differ; a task's may by five times as much.
        model: the base, if it cannot be loaded by the row's name for it; its fingerprint must be the row's.
        suite: the data, if not a standard suite; its hash must be the row's.
        device, batch_tokens, allow_pickle, trust_remote_code: as for ``edit``.
        progress: as for ``edit``.

    Raises:
        UsageError: the row does not exist or cannot be repeated.
        CanonbenchError: model or data are not those of the row, or the run fails.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"tolerance must be a number of points from 0 on, got {tolerance}")
    require_batch_tokens(batch_tokens)
    checkout, progress = find_checkout(root), progress or Progress()
    placed = _find(checkout, wanted)
    row, base = placed.row, str(model) if model is not None else _base_of(placed)
    _require_data(row, suite)
    how = Loading(device, row.dtype, Trust(allow_pickle, trust_remote_code), progress.say)
    _require_base(base, row, how)
    folder = Path(run or Path("canonbench-runs") / f"reproduce-{row.row_id}")
    method = checkout.submission(str(row.submission))
    parts = _parts(row)
    folders = [folder / part.tasks[0] for part in parts] if len(parts) > 1 else [folder]
    for part, place in zip(parts, folders, strict=True):
        edit(
            method,
            base,
            run=place,
            suite=suite or row.suite.name,
            device=device,
            batch_tokens=batch_tokens,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            progress=progress,
            passed={"method": str(method)},
            **_as_before(row, part),
        )
    again = read_merged(folders).row
    if again.fingerprints.base != row.fingerprints.base:
        raise CanonbenchError(f"{base} has changed while the row was repeated; run the same command again")
    numbers = tuple(compared(row, again, average=tolerance))
    if not write or not all(each.agrees for each in numbers):
        return Reproduction(placed, again, numbers, None)
    reproduced, changed = _put_on_board(checkout, row, folders)
    return Reproduction(placed, reproduced, numbers, changed)


def _find(checkout: Checkout, wanted: str) -> PlacedRow:
    placed = read_rows(checkout.rows)
    found = [
        each for each in placed if each.place == wanted or (len(wanted) >= 4 and each.row.row_id.startswith(wanted))
    ]
    if len(found) != 1:
        names = ", ".join(f"{each.place} ({each.row.row_id})" for each in placed if each.row.state == "submitted")
        which = "no row" if not found else f"{len(found)} rows"
        raise UsageError(f"{which} {wanted!r}; submitted rows are {names or 'not there yet'}")
    row = found[0].row
    if row.state not in ("submitted", "reproduced") or row.leagues is None:
        raise UsageError(f"{found[0].place} cannot be repeated: only submitted rows of edit runs can")
    return found[0]


def _base_of(placed: PlacedRow) -> str:
    model = placed.row.model
    if model.source == "demo":
        return model.name
    if model.source == "hub":
        return f"{model.name}@{model.revision}" if model.revision else model.name
    raise UsageError(f"{placed.place} does not say where its base, {model.name!r}, can be found; give --model")


def _require_data(row: Row, suite: str | Path | None) -> None:
    if suite is None and row.suite.name not in NAMES:
        raise UsageError(f"suite {row.suite.name!r} is not one of {', '.join(NAMES)}; say with --suite where it is")
    found = Suite.load(suite or row.suite.name)
    if found.data_hash(row.split) != row.suite.data_hash:
        raise CanonbenchError(f"suite {found.name!r} holds other data than the row was measured on")


def _require_base(name: str, row: Row, how: Loading) -> None:
    """Check that the base is the row's, before hours of training."""
    opener, _ = model_handles(name, None, None, how)
    loaded = opener.open()
    key = fingerprint(loaded.model).key
    free(loaded)
    if key != row.fingerprints.base:
        raise CanonbenchError(f"{name} is not the base of this row: its weights or configuration differ")


class _Part(NamedTuple):
    """Tasks that one run can edit: with the same hyperparameters and number of seeds."""

    tasks: tuple[str, ...]
    hyperparameters: dict[str, Any]
    seeds: int


def _parts(row: Row) -> list[_Part]:
    """Split the row into runs; there is one, unless its tasks differ in hyperparameters or seeds."""
    parts: list[_Part] = []
    for name, task in next(iter((row.leagues or {}).values())).tasks.items():
        own = _Part((name,), for_task(row.hyperparameters or {}, name), len(task.seeds or ()))
        same = next((number for number, part in enumerate(parts) if part[1:] == own[1:]), None)
        if same is None:
            parts.append(own)
        else:
            parts[same] = parts[same]._replace(tasks=(*parts[same].tasks, name))
    return parts


def _as_before(row: Row, part: _Part) -> dict[str, Any]:
    """The arguments of ``edit`` that the row's numbers depend on."""
    assert row.leagues is not None
    assert row.general is not None
    followed = _followed(row, part)
    return {
        "tasks": part.tasks,
        "split": row.split,
        "general": row.general.name,
        "limit": row.limit,
        "protocol": row.protocol,
        "leagues": list(row.leagues),
        "seeds": part.seeds,
        "settings": None if followed is not None else part.hyperparameters,
        "chosen": followed,
        "dtype": row.dtype,
        "keep": "none",
    }


def _followed(row: Row, part: _Part) -> Chosen | None:
    """Reconstruct the val run whose choices a test run followed, from its own row; None if it followed none.

    A test row names the candidate chosen on val, and no seed takes a later one. If a seed does, nothing was followed.
    If a run that followed nothing took no later one either, following gives the same result.
    """
    assert row.leagues is not None
    tasks = [league.tasks[name] for league in row.leagues.values() for name in part.tasks]
    beyond = any((each.candidate or 0) > (task.candidate or 0) for task in tasks for each in task.seeds or ())
    return None if row.split == "val" or beyond else Chosen(row, part.hyperparameters, row.row_id)


def _put_on_board(checkout: Checkout, row: Row, runs: Sequence[Path]) -> tuple[Row, Changed]:
    """Add the repetition as a new row; the repeated row stays, flagged superseded."""
    name = str(row.submission)
    with staged_copy(checkout, name) as staged:
        measured = submitted_row(read_merged(runs), staged.submission(name), name, row.model.name)
        note = Provenance(source=measured.provenance.source, note=f"repeats {row.state} row {row.row_id}")
        again = measured.model_copy(
            update={"state": "reproduced", "provenance": note, "model": row.model, "base": row.base}
        )
        again = Row.model_validate(again.model_dump(by_alias=True))
        flag = Flag(name="superseded", reason=f"reproduced as row {again.row_id}")
        old = Row.model_validate(row.model_dump(by_alias=True) | {"flags": (*row.flags, flag)})
        set_rows(staged, name, [old if each == row else each for each in rows_of(staged, name)] + [again])
        require_valid(staged, name, f"the repetition of {row.row_id}")
        return again, publish(staged, checkout, name)
