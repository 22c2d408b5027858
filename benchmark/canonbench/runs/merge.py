"""Merge finished runs into one row, and merge edits into one model.

``merged`` combines runs of one method on different tasks into one run, which is valid because in the per-task track
every task has its own model. ``merge_edits`` merges one edit per task into one edited model for the joint track
(docs/reference/protocol.md#6-rows), and ``with_merge`` adds to its row what each task lost against its own edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from canonbench.editing import Senses, StoredDelta, merge_adapters, merge_deltas, union
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models import (
    LoadedModel,
    Loading,
    Trust,
    base_of_edit,
    edit_of,
    fingerprint,
    load_model,
    require_base,
    save_artefact,
    stored_senses,
)
from canonbench.models import folders as files
from canonbench.network import to_stderr
from canonbench.results import (
    EDIT_COLUMNS,
    Finished,
    LeagueTask,
    Merged,
    MergedTask,
    Row,
    TaskResult,
    aggregated,
    for_task,
    joined,
    read_finished,
)
from canonbench.runs.merge_parts import (
    KEY,
    LEAGUE,
    MergedEdit,
    MergeRecord,
    Options,
    Part,
    Resolved,
    is_run,
    read_parts,
    record_of,
    require_alike,
    require_possible,
    resolved,
)
from canonbench.runs.prepare import ModelHandle
from canonbench.suite import TASKS


def read_merged(runs: Sequence[str | Path]) -> Finished:
    """Read one run, or several runs of different tasks combined into one.

    Raises:
        UsageError: no run is given, or a file or folder does not exist.
        CanonbenchError: a run is damaged, or the runs cannot be combined; the message names what differs.
    """
    if not runs:
        raise UsageError("no run given")
    found = [read_finished(run) for run in runs]
    return found[0] if len(found) == 1 else merged(found)


def merged(runs: Sequence[Finished]) -> Finished:
    """Combine finished edit runs of different tasks into one, with numbers recomputed from all of their examples.

    Raises:
        CanonbenchError: the runs differ in method, base, data, rules or versions, one is not an edit run, or two have
            a task in common.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import)

    first, *others = runs
    for other in others:
        _require_together(first, other)
    tasks = _tasks(runs)
    path = ", ".join(run.path for run in runs)
    examples = pa.concat_tables([run.examples.select(list(EDIT_COLUMNS)) for run in runs])
    leagues = {label: {name: tasks[name][0][label] for name in tasks} for label in first.row.leagues or {}}
    try:
        numbers = aggregated(first.row, leagues, examples)
    except CanonbenchError as error:
        raise CanonbenchError(f"{path}: {error}") from error
    content: dict[str, Any] = first.row.model_dump(by_alias=True) | {
        "hyperparameters": joined({name: for_task(settings, name) for name, (_, settings) in tasks.items()}),
        "seconds": sum(run.row.seconds or 0.0 for run in runs),
        "peak_memory_bytes": max(run.row.peak_memory_bytes or 0 for run in runs),
        **numbers._asdict(),
    }
    return Finished(path, Row.model_validate(content), examples)


def _require_together(one: Finished, other: Finished) -> None:
    if one.row.leagues is None or other.row.leagues is None:
        raise CanonbenchError(f"{one.path} and {other.path}: only edit runs of different tasks can be put together")
    for what, of in (
        ("data or rules", lambda row: row.comparable_group),
        ("method", lambda row: row.method),
        ("base", lambda row: (row.fingerprints.base, row.model)),
        ("leagues", lambda row: list(row.leagues)),
        ("dtype or device", lambda row: (row.dtype, row.device)),
        ("versions", lambda row: row.versions),
    ):
        if of(one.row) != of(other.row):
            raise CanonbenchError(f"{one.path} and {other.path} cannot be put together: they differ in {what}")


def _tasks(runs: Sequence[Finished]) -> dict[str, tuple[dict[str, LeagueTask], dict[str, Any]]]:
    """Return, by task in the standard order, its result in every league and the hyperparameters of its run."""
    found: dict[str, tuple[dict[str, LeagueTask], dict[str, Any]]] = {}
    for run in runs:
        assert run.row.leagues is not None
        for name in next(iter(run.row.leagues.values())).tasks:
            if name in found:
                raise CanonbenchError(f"{run.path} has task {name!r} as well; give every task once")
            of_league = {label: league.tasks[name] for label, league in run.row.leagues.items()}
            found[name] = of_league, dict(run.row.hyperparameters or {})
    order = [*TASKS, *(name for name in found if name not in TASKS)]
    return {name: found[name] for name in order if name in found}


def merged_from(opener: ModelHandle) -> MergeRecord | None:
    """Return the record of what a model was merged from; None if it was not merged or is in memory.

    Raises:
        CanonbenchError: the record is damaged.
    """
    edit = edit_of(opener.model, opener.how) if opener.is_name else None
    return None if edit is None else record_of(edit)


def with_merge(row: Row, record: MergeRecord | None) -> Row:
    """Add to the row of a fixed checkpoint the edits that it was merged from, if any."""
    if record is None:
        return row
    group = row.comparable_group._asdict()
    merged = Merged(
        how=record.how,
        methods=tuple(dict.fromkeys(edit.method for edit in record.edits)),
        league=record.league,
        edits={edit.task: _against_own(edit, group, row.tasks or {}) for edit in record.edits},
        unedited=tuple(record.unedited),
    )
    return Row.model_validate({**row.model_dump(by_alias=True), "merged": merged})


def _against_own(edit: MergedEdit, group: Mapping[str, object], tasks: Mapping[str, TaskResult]) -> MergedTask:
    own = edit.own.delta if edit.own is not None and edit.own.group == group else None
    delta = tasks[edit.task].success.delta if edit.task in tasks else None
    return MergedTask(own_delta=own, against_own=None if own is None or delta is None else delta - own)


def merge_edits(
    edits: Iterable[str | Path],
    out: str | Path,
    *,
    how: str | None = None,
    league: str | None = None,
    edit_seed: int | None = None,
    density: float | None = None,
    rank: int | None = None,
    seed: int | None = None,
    base: str | Path | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> MergeRecord:
    """Merge edits of different tasks into one artefact, which ``load_model`` opens like any other.

    The result does not depend on the order of the edits.

    Args:
        edits: finished edit runs, each of one or several tasks, and artefacts that such runs kept.
        out: the new artefact's folder; it appears complete or not at all.
        how: ``mean``, ``ties`` or ``dare``; for senses ``union``. None for mean, or for senses union. See
            ``docs/how-to/merging.md``.
        league: the league whose chosen candidates are taken from the runs; None for 1e-3.
        edit_seed: the repetition to take from runs with several seeds; None for 0.
        density: share of each edit's changes that ties and dare keep; None for 0.2.
        rank: LoRA rank of a merged adapter; None for the sum of the ranks.
        seed: random seed of the changes that dare drops; None for 0.
        base: the model that was edited, if it is not at the place that the artefacts name.
        allow_pickle: read a pickled base too, with ``weights_only=True``.
        trust_remote_code: run Python code that comes with the base.
        say: receives notes.

    Returns:
        The record of the merge, as stored in ``canonbench_edit.json``.

    Raises:
        UsageError: ``out`` exists already, an input is missing, or an option is unknown or does not apply.
        CanonbenchError: the edits do not match or cannot be merged, no task was edited, or a file cannot be read or
            written.
    """
    target, options = Path(out), Options(how, league, edit_seed, density, rank, seed)
    if target.exists():
        raise UsageError(f"--out {target}: is there already; give a new folder")
    require_possible(options)
    given = [Path(each) for each in edits]
    if not given:
        raise UsageError("no edit given; name edit runs, or artefacts that they kept")
    parts, unedited = read_parts(given, league or LEAGUE, edit_seed or 0)
    require_alike(parts)
    choice = resolved(options, parts[0].edit.kind, from_runs=any(map(is_run, given)))
    for task in unedited:
        say(f"{task}: left unedited in league {choice.league}, so it has no part in the merge")
    how_to_load = Loading("cpu", parts[0].edit.dtype, Trust(allow_pickle, trust_remote_code), say)
    loaded = _load_base(parts[0], base, how_to_load)
    mark = fingerprint(loaded.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(choice.seed or 0)
        model = _merged(loaded.model, parts, choice)
    record = MergeRecord(**choice._asdict(), edits=[part.said for part in parts], unedited=unedited)
    save_artefact(
        model, target, base=loaded.source, base_fingerprint=mark, record={KEY: record.model_dump(mode="json")}
    )
    return record


def _load_base(part: Part, given: str | Path | None, how: Loading) -> LoadedModel:
    """Load the model that was edited, and check that it is the same one."""
    name = given or base_of_edit(part.folder)
    loaded = load_model(name, how)
    require_base(loaded.model, part.edit, part.folder, name)
    return loaded


def _merged(model: Any, parts: Sequence[Part], choice: Resolved) -> Any:
    """Turn the base into the merged model, in place."""
    kind = parts[0].edit.kind
    if kind == "peft":
        return merge_adapters(model, [part.folder for part in parts], choice.merging, choice.rank)
    tensors = [part.edit.tensors or {} for part in parts]
    if kind == "senses":
        stored = [stored_senses(each, part.folder / files.SENSES) for each, part in zip(tensors, parts, strict=True)]
        merged = union([Senses(**each) for each in stored])
        model.edit_senses(merged.token_ids, merged.sense_ids).deltas.data.copy_(merged.deltas)
        return model
    deltas = [StoredDelta(each, part.folder / files.DELTA) for each, part in zip(tensors, parts, strict=True)]
    merge_deltas(model, deltas, choice.merging)
    return model
