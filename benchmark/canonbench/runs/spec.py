"""What the caller asked for, checked and made definite."""

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
    """Which data, by which rules."""

    suite: Suite
    tasks: list[str]
    split: SplitName
    general: General | None
    protocol: Protocol
    limit: int | None

    @property
    def general_part(self) -> GeneralPart:
        """Which part of G is scored: the split's own, or all of it where the protocol says so."""
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
    """Look every name up, before anything expensive happens.

    Raises:
        UsageError: an unknown suite, task, split, general text or protocol; a limit or seed that is out of range.
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
        if name not in loaded.tasks:  # a threshold for it would silently do nothing
            raise unknown_name("task", name, loaded.tasks, where=f"in the thresholds of {protocol_name}")
    return EvalSpec(loaded, names, split, chosen, rules, limit)  # type: ignore[arg-type]


def require_batch_tokens(batch_tokens: int | None) -> None:
    """UsageError if it is no number of tokens; None is for auto."""
    if batch_tokens is not None:
        require_whole("batch_tokens", batch_tokens, 1, LARGEST_COUNT)


def with_leagues(protocol: Protocol, leagues: Iterable[str | float] | None) -> Protocol:
    """The protocol with these leagues only; each is judged by itself, so which others there are changes nothing.

    Raises:
        CanonbenchError: an ε is no positive number.
    """
    return protocol if leagues is None else replace(protocol, leagues=read_leagues(list(leagues)))


def announce(asked: EvalSpec, say: Callable[[str], None], *, by_default: bool) -> None:
    """Say which data are scored; where nobody named the suite, also why it is this one."""
    name = asked.suite.name
    if by_default and name == "mini":
        name += " (the published one is not at hand; 'canonbench data fetch published' brings it)"
    general = f"general text {asked.general.name}" if asked.general else "no general text"
    limited = f", only the first {asked.limit} rows of every file" if asked.limit else ""
    say(f"suite {name}, {asked.split} split, {', '.join(asked.tasks)}; {general}{limited}")


def read_protocol(name: str) -> Protocol:
    """A standard protocol by name, or a user's YAML file."""
    path = Path(name)
    if name in PROTOCOLS or path.suffix not in (".yaml", ".yml"):
        return protocol(name)
    content = read_yaml(path, "name: my-thresholds")
    try:
        return protocol_from_mapping(content)
    except CanonbenchError as error:
        raise type(error)(f"{path}: {error}") from error
