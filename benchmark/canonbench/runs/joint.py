"""The row of a merged model: what each task lost against its own edit."""

from __future__ import annotations

from collections.abc import Mapping

from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_merged import Merged, MergedTask
from canonbench.leaderboard.row_results import TaskResult
from canonbench.models.load import edit_of
from canonbench.runs.merge_record import MergedEdit, MergeRecord, record_of
from canonbench.runs.pair import Opener


def merged_from(opener: Opener) -> MergeRecord | None:
    """What a model was merged from; None for a model of any other making, or in memory.

    Raises:
        CanonbenchError: its record is damaged.
    """
    edit = edit_of(opener.model, opener.how) if opener.is_name else None
    return None if edit is None else record_of(edit)


def with_merge(row: Row, record: MergeRecord | None) -> Row:
    """The row of a fixed checkpoint with what it was merged from, if it was."""
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
