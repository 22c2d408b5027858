"""A row's numbers once more, from its per-example values, by the functions that computed them first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from canonbench.errors import CanonbenchError
from canonbench.leaderboard.aggregate import aggregate
from canonbench.leaderboard.aggregate_edits import aggregate_edits
from canonbench.leaderboard.aggregate_general import GeneralText
from canonbench.leaderboard.aggregate_tasks import TaskSpec
from canonbench.leaderboard.row import Row
from canonbench.leaderboard.row_results import TaskResult
from canonbench.scoring.protocol import PROTOCOLS, Protocol, protocol, read_leagues

if TYPE_CHECKING:
    import pyarrow

MEASURED = ("general", "tasks", "average", "leagues")
"""The parts of a row that follow from its examples."""


def differences(row: Row, examples: pyarrow.Table) -> list[str]:
    """Where the row says something else than its examples: ``place: x in the row, y from its examples``.

    Raises:
        CanonbenchError: the examples are damaged or lack something, or the protocol is not a standard one.
    """
    content = row.model_dump(mode="json", include=set(MEASURED))
    computed = recomputed(row, examples)
    return [
        f"{place}: {said} in the row, {found} from its examples" for place, said, found in _unlike(content, computed)
    ]


def recomputed(row: Row, examples: pyarrow.Table) -> dict[str, Any]:
    """The parts ``MEASURED`` of the row as JSON content; CanonbenchError as in ``differences``."""
    general = None if row.general is None else GeneralText(row.general.name, str(row.general.data_hash))
    computed: dict[str, Any] = dict.fromkeys(MEASURED)
    seed = row.seed or 0
    if row.leagues is None:
        fixed = aggregate(examples, tasks=_specs(row.tasks or {}), protocol=_protocol(row), general=general, seed=seed)
        computed |= fixed._asdict()
    else:
        assert general is not None, "an edit run has general text"
        first = next(iter(row.leagues.values()))
        leagues = row.leagues.items()
        edited = aggregate_edits(
            examples,
            tasks=_specs(first.tasks),
            protocol=_protocol(row),
            general=general,
            choices={
                label: {
                    name: {each.seed: each.candidate or 0 for each in task.seeds or ()}
                    for name, task in league.tasks.items()
                }
                for label, league in leagues
            },
            reported={
                label: {name: task.candidate or 0 for name, task in league.tasks.items()} for label, league in leagues
            },
            seed=seed,
        )
        computed |= edited._asdict()
    return {name: _plain(part) for name, part in computed.items()}


def _specs(tasks: Mapping[str, TaskResult]) -> dict[str, TaskSpec]:
    return {name: TaskSpec(task.loss, task.threshold) for name, task in tasks.items()}


def _protocol(row: Row) -> Protocol:
    """The row's protocol with its leagues; a file's rules are not in the row, so only standard ones can be checked."""
    if row.protocol not in PROTOCOLS:
        raise CanonbenchError(f"protocol {row.protocol!r} is not a standard one ({', '.join(PROTOCOLS)})")
    labels = row.leagues or (row.general.leagues if row.general else {})
    found = protocol(row.protocol)
    return replace(found, leagues=read_leagues(list(labels))) if labels else found


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _plain(each) for name, each in part.items()}
    return part.model_dump(mode="json") if part is not None else None


def _unlike(said: Any, found: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two contents differ."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in {**said, **found}:
            yield from _unlike(said.get(key), found.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for number, (one, other) in enumerate(zip(said, found, strict=True)):
            yield from _unlike(one, other, f"{place}.{number}")
    elif said != found:
        yield place, said, found
