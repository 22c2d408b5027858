"""Check the caller's arguments and resolve names to data and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from canonbench.errors import LARGEST_COUNT, CanonbenchError, require_whole, unknown_name
from canonbench.records import read_yaml
from canonbench.scoring import PROTOCOLS, Protocol, protocol, protocol_from_mapping, read_leagues
from canonbench.suite import General, GeneralPart, Suite, default_name

SplitName = Literal["val", "test"]


@dataclass(frozen=True)
class EvalSpec:
    """The data and the rules of an evaluation."""

    suite: Suite
    tasks: list[str]
    split: SplitName
    general: General | None
    protocol: Protocol
    limit: int | None

    @property
    def general_part(self) -> GeneralPart:
        """The part of G to score: the split's own, or all of it if the protocol says so."""
        return "all" if self.protocol.general == "all" else self.split


def resolve(
    *,
    suite: str | Path | Suite | None,
    tasks: Any,
    split: str,
    general: str | None,
    protocol_name: str,
    limit: int | None,
) -> EvalSpec:
    """Resolve every name before anything expensive happens.

    Raises:
        UsageError: an unknown suite, task, split, general text or protocol; a limit or seed out of range.
        CanonbenchError: the suite or the protocol file cannot be read.
    """
    if limit is not None:
        require_whole("limit", limit, 1, LARGEST_COUNT)
    loaded = suite if isinstance(suite, Suite) else Suite.load(suite or default_name())
    if split not in ("val", "test"):
        raise unknown_name("split", split, ("val", "test"))
    names = loaded.select(tasks)
    for name in names:
        loaded.task(name).split(split)
    chosen = None if general == "none" else loaded.general(general)
    rules = read_protocol(protocol_name)
    for name in rules.thresholds:
        if name not in loaded.tasks:  # a threshold for an unknown task would be silently ignored
            raise unknown_name("task", name, loaded.tasks, where=f"in the thresholds of {protocol_name}")
    return EvalSpec(loaded, names, split, chosen, rules, limit)  # type: ignore[arg-type]


def require_batch_tokens(batch_tokens: int | None) -> None:
    """Raise UsageError unless ``batch_tokens`` is a positive number of tokens, or None for auto."""
    if batch_tokens is not None:
        require_whole("batch_tokens", batch_tokens, 1, LARGEST_COUNT)


def with_leagues(protocol: Protocol, leagues: Iterable[str | float] | None) -> Protocol:
    """Return the protocol with only these leagues. Leagues are independent, so removing some changes no others.

    Raises:
        CanonbenchError: an ε is not a positive number.
    """
    return protocol if leagues is None else replace(protocol, leagues=read_leagues(list(leagues)))


def announce(asked: EvalSpec, say: Callable[[str], None], *, by_default: bool) -> None:
    """Report the data to be scored and, if the suite was chosen by default, why it was."""
    name = asked.suite.name
    if by_default and name == "mini":
        name += " (the published one is not at hand; 'canonbench data fetch published' brings it)"
    general = f"general text {asked.general.name}" if asked.general else "no general text"
    limited = f", only the first {asked.limit} rows of every file" if asked.limit else ""
    say(f"suite {name}, {asked.split} split, {', '.join(asked.tasks)}; {general}{limited}")


def read_protocol(name: str) -> Protocol:
    """Read a standard protocol by name, or a user's YAML file."""
    path = Path(name)
    if name in PROTOCOLS or path.suffix not in (".yaml", ".yml"):
        return protocol(name)
    content = read_yaml(path, "name: my-thresholds")
    try:
        return protocol_from_mapping(content)
    except CanonbenchError as error:
        raise type(error)(f"{path}: {error}") from error
