"""Merge one edit per task into one edited model, which the joint track asks for (docs/reference/protocol.md#6-rows)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from canonbench.editing.merge_adapters import merge_adapters
from canonbench.editing.merge_deltas import StoredDelta, merge_deltas
from canonbench.editing.merge_senses import Senses, union
from canonbench.errors import UsageError
from canonbench.models import files
from canonbench.models.artefact import base_of_edit, require_base, save_artefact
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import fingerprint
from canonbench.models.load import LoadedModel, Loading, load_model
from canonbench.models.sense_edit_file import stored_senses
from canonbench.offline import to_stderr
from canonbench.runs.merge_options import LEAGUE, Options, Resolved, require_possible, resolved
from canonbench.runs.merge_parts import Part, is_run, read_parts, require_alike
from canonbench.runs.merge_record import KEY, MergeRecord


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
    """Merge edits of different tasks into one artefact, which ``load_model`` opens as any other.

    The result does not depend on the order in which the edits are given.

    Args:
        edits: finished edit runs, each of one or several tasks, and artefacts that such runs kept.
        out: the new artefact's folder; it appears complete or not at all.
        how: ``mean``, ``ties`` or ``dare``; of senses ``union``. None for mean, or union. See
        ``docs/how-to/merging.md``.
        league: whose candidates are taken from the runs; None for 1e-3.
        edit_seed: whose, where a run repeated its tasks with several seeds; None for 0.
        density: share of each edit's changes that ties and dare keep; None for 0.2.
        rank: of a merged adapter; None for the sum of the ranks.
        seed: of what dare drops; None for 0.
        base: the model that was edited, where it is not where the artefacts say.
        allow_pickle: read a pickled base too, with ``weights_only=True``.
        trust_remote_code: run Python code that comes with the base.
        say: receives notes.

    Returns:
        What was merged, as ``canonbench_edit.json`` says it.

    Raises:
        UsageError: ``out`` is there already, something is not there or unknown, or an option means nothing here.
        CanonbenchError: the edits do not go together or cannot be merged, no task was edited, or something cannot be
            read or written.
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
    """The model that was edited, and no other."""
    name = given or base_of_edit(part.folder)
    loaded = load_model(name, how)
    require_base(loaded.model, part.edit, part.folder, name)
    return loaded


def _merged(model: Any, parts: Sequence[Part], choice: Resolved) -> Any:
    """The merged model, made of the base in place."""
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
