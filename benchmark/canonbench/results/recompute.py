"""Recompute a row's numbers from its per-example values, and compare a repeated run with its row.

Recomputing uses the functions that computed the numbers in the first place. The comparison of a repeated run lists each
pair of numbers with the tolerance within which they agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from canonbench.errors import CanonbenchError
from canonbench.results.aggregate import GeneralText, aggregate
from canonbench.results.aggregate_edits import EditAggregates, aggregate_edits
from canonbench.results.aggregate_tasks import TaskSpec
from canonbench.results.row import Row
from canonbench.results.row_results import LeagueTask, TaskResult
from canonbench.scoring import PROTOCOLS, Protocol, protocol, read_leagues

if TYPE_CHECKING:
    import pyarrow


MEASURED = ("general", "tasks", "average", "leagues")
"""The parts of a row that are computed from its examples."""
INTERVALS = ("ci", "ratio_ci", "straddles")
"""The keys in these parts that an earlier version computed differently."""


def differences(row: Row, examples: pyarrow.Table) -> list[str]:
    """List where the row differs from its examples, as ``place: x in the row, y from its examples``.

    Raises:
        CanonbenchError: the examples are damaged or incomplete, or the protocol is not a standard one.
    """
    content = row.model_dump(mode="json", include=set(MEASURED))
    computed = recomputed(row, examples)
    return [
        f"{place}: {said} in the row, {found} from its examples" for place, said, found in _unlike(content, computed)
    ]


def recomputed(row: Row, examples: pyarrow.Table) -> dict[str, Any]:
    """Compute the parts ``MEASURED`` of the row as JSON content; CanonbenchError as in ``differences``."""
    computed: dict[str, Any] = dict.fromkeys(MEASURED)
    if row.leagues is None:
        tasks, rules = _specs(row.tasks or {}), _protocol(row)
        fixed = aggregate(examples, tasks=tasks, protocol=rules, general=_general(row))
        computed |= fixed._asdict()
    else:
        leagues = {label: league.tasks for label, league in row.leagues.items()}
        computed |= aggregated(row, leagues, examples)._asdict()
    return {name: _plain(part) for name, part in computed.items()}


def with_present_intervals(row: Row, examples: pyarrow.Table) -> Row:
    """Replace the row's intervals by those that this version computes from its examples; all other numbers stay.

    CanonbenchError as in ``differences``.
    """
    computed = recomputed(row, examples)
    content = row.model_dump(mode="json", by_alias=True)
    return Row.model_validate(content | {name: _with_intervals(content[name], computed[name]) for name in MEASURED})


def aggregated(row: Row, leagues: Mapping[str, Mapping[str, LeagueTask]], examples: pyarrow.Table) -> EditAggregates:
    """Compute an edit run's numbers from its examples and the candidates that its leagues took for each task.

    Args:
        row: gives the protocol and the general text.
        leagues: by label and task; only losses, thresholds, seeds and candidates are used.
        examples: the examples of all these tasks.

    Raises:
        CanonbenchError: as in ``differences``.
    """
    general = _general(row)
    assert general is not None, "an edit run has general text"
    return aggregate_edits(
        examples,
        tasks=_specs(next(iter(leagues.values()))),
        protocol=_protocol(row),
        general=general,
        choices={
            label: {name: {each.seed: each.candidate or 0 for each in task.seeds or ()} for name, task in tasks.items()}
            for label, tasks in leagues.items()
        },
        reported={
            label: {name: task.candidate or 0 for name, task in tasks.items()} for label, tasks in leagues.items()
        },
    )


def _general(row: Row) -> GeneralText | None:
    return None if row.general is None else GeneralText(row.general.name, str(row.general.data_hash))


def _specs(tasks: Mapping[str, TaskResult]) -> dict[str, TaskSpec]:
    return {name: TaskSpec(task.loss, task.threshold) for name, task in tasks.items()}


def _protocol(row: Row) -> Protocol:
    """The row's protocol with its leagues; only standard ones, as a row does not hold the rules of a protocol file."""
    if row.protocol not in PROTOCOLS:
        raise CanonbenchError(f"protocol {row.protocol!r} is not a standard one ({', '.join(PROTOCOLS)})")
    labels = row.leagues or (row.general.leagues if row.general else {})
    found = protocol(row.protocol)
    return replace(found, leagues=read_leagues(list(labels))) if labels else found


def _plain(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _plain(each) for name, each in part.items()}
    return part.model_dump(mode="json") if part is not None else None


def _with_intervals(said: Any, found: Any) -> Any:
    if not isinstance(said, dict) or not isinstance(found, dict):
        return said
    return {key: found.get(key) if key in INTERVALS else _with_intervals(said[key], found.get(key)) for key in said}


def _unlike(said: Any, found: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the leaves in which two JSON contents differ."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in {**said, **found}:
            yield from _unlike(said.get(key), found.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for number, (one, other) in enumerate(zip(said, found, strict=True)):
            yield from _unlike(one, other, f"{place}.{number}")
    elif said != found:
        yield place, said, found


AVERAGE = 1.0
"""Tolerance in points for a league's average success; training on another device takes another path."""
TASK = 5.0
"""Factor on that tolerance for a single task; 5 points are three rows of the embedded suite's 66."""
BASE = 0.5
"""Tolerance in points for the base's success, which involves no training, only rounding."""
LOSS = 1e-3
"""Relative tolerance for the base's general loss."""


class Compared(NamedTuple):
    """One number of a row, and the same number of its repetition."""

    where: str
    said: float
    found: float
    tolerance: float
    """Maximum difference at which the two agree."""

    @property
    def agrees(self) -> bool:
        """Whether the two differ by no more than the tolerance."""
        return abs(self.found - self.said) <= self.tolerance


def compared(row: Row, again: Row, *, average: float = AVERAGE) -> list[Compared]:
    """Compare the numbers that must agree if ``again`` repeats ``row``; both are rows of edit runs.

    Args:
        row: the original row.
        again: a row with the same method, model, data, hyperparameters and seeds, hence the same tasks and leagues.
        average: tolerance of the leagues' averages in points; a task's is ``TASK`` times as wide.
    """
    return [*_base(row, again), *_leagues(row, again, average)]


def _base(row: Row, again: Row) -> Iterator[Compared]:
    assert row.general is not None
    assert again.general is not None
    if row.general.base is not None and again.general.base is not None:
        yield Compared("base, nats per token", row.general.base, again.general.base, LOSS * row.general.base)
    first, other = (next(iter((each.leagues or {}).values())) for each in (row, again))
    for name, task in first.tasks.items():
        before, now = task.success.base, other.tasks[name].success.base
        if before is not None and now is not None:
            yield Compared(f"base, {name}", before, now, BASE)


def _leagues(row: Row, again: Row, average: float) -> Iterator[Compared]:
    for label, league in (row.leagues or {}).items():
        other = (again.leagues or {})[label]
        yield Compared(f"{label}, average", league.average.success.edited, other.average.success.edited, average)
        for name, task in league.tasks.items():
            yield Compared(f"{label}, {name}", task.success.edited, other.tasks[name].success.edited, average * TASK)
