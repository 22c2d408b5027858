"""Suites: tasks with val and test splits, and general text.

A suite is loaded by name (the embedded ``mini`` or the ``published`` one) or from a folder; the format is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.files import data_root, file_hash, is_dir, is_file
from canonbench.records import read_json, validated
from canonbench.suite.example import canonical_subjects, example_table, read_rows, text_table
from canonbench.suite.published import published_root
from canonbench.suite.spec import (
    LOSSES,
    FileSpec,
    FlagsFile,
    GeneralSpec,
    SplitName,
    SplitSpec,
    SubjectSpec,
    SuiteSpec,
    read_spec,
)
from canonbench.suite.tasks import TASKS, Task

if TYPE_CHECKING:
    import datasets


Part = Literal["canonical", "evaluation", "hard_negatives", "unconditional"]
GeneralPart = Literal["val", "test", "all", "regularization"]


@dataclass(frozen=True)
class Split:
    """One split of one task. Each table is read on first use."""

    root: Path
    spec: SplitSpec
    subject: SubjectSpec
    arity: int
    unclean: dict[str, frozenset[int]]
    """By file path, the 0-based rows that the audit flagged."""

    @cached_property
    def canonical(self) -> datasets.Dataset:
        """T: the canonical examples, the simple examples that an editing method learns from."""
        return self._table(self.spec.canonical, self.arity)

    @cached_property
    def evaluation(self) -> datasets.Dataset:
        """E: naturalistic text that calls for the same behaviour."""
        return self._table(self.spec.evaluation, self.arity)

    @cached_property
    def hard_negatives(self) -> datasets.Dataset:
        """H: nearby text on which the edited model must not change for the worse."""
        return self._table(self.spec.hard_negatives, arity=1)

    @cached_property
    def unconditional(self) -> datasets.Dataset | None:
        """Texts without a prefix, with columns text and origin; None if the suite has none."""
        return text_table(self.root, (self.spec.unconditional,)) if self.spec.unconditional else None

    def path(self, part: Part) -> Path:
        """Return the file of a part; CanonbenchError if the suite has no such part."""
        file: FileSpec | None = getattr(self.spec, part)
        if file is None:
            raise CanonbenchError(f"this suite has no {part} text")
        return self.root / file.path

    def _table(self, file: FileSpec, arity: int) -> datasets.Dataset:
        pattern = self.subject.canonical_pattern
        subjects = canonical_subjects(pattern, read_rows(self.root, self.spec.canonical)) if pattern else []
        return example_table(
            self.root,
            file,
            subject=self.subject,
            subjects=subjects,
            unclean=self.unclean.get(file.path, frozenset()),
            arity=arity,
        )


@dataclass(frozen=True)
class SuiteTask:
    """A task of a suite: its loss and threshold, and its splits."""

    task: Task
    splits: dict[str, Split]

    def split(self, name: str) -> Split:
        """Return the split ``val`` or ``test``; UsageError if the suite lacks it."""
        if name not in self.splits:
            raise unknown_name("split", name, self.splits, where=f"of task {self.task.name!r}")
        return self.splits[name]


@dataclass(frozen=True)
class General:
    """General text under one name: G_val, G_test (leagues) and R (regularisation)."""

    name: str
    root: Path
    spec: GeneralSpec

    def files(self, part: GeneralPart) -> tuple[FileSpec, ...]:
        """Return the files of a part (``all`` is val and test together); CanonbenchError if there is no such part."""
        if part == "all":
            return (self.spec.val, self.spec.test)
        file: FileSpec | None = getattr(self.spec, part)
        if file is None:
            raise CanonbenchError(f"general text {self.name!r} has no {part} part")
        return (file,)

    def texts(self, part: GeneralPart) -> datasets.Dataset:
        """Return the chunks of a part as columns text and origin."""
        return text_table(self.root, self.files(part))

    def data_hash(self, part: GeneralPart) -> str:
        """Return the SHA-256 over the part's files and row ranges."""
        return _data_hash(self.root, self.files(part))

    @property
    def at_hand(self) -> bool:
        """Whether every file exists (the published suite may have been fetched without the large ones)."""
        specs = (self.spec.val, self.spec.test, self.spec.regularization)
        return all(is_file(self.root / file.path) for file in specs if file)


@dataclass(frozen=True)
class Suite:
    """A suite's tasks and general text. Create one with ``Suite.load``."""

    spec: SuiteSpec
    root: Path
    tasks: dict[str, SuiteTask]
    flags_hash: str | None

    @property
    def name(self) -> str:
        """The suite's name from its ``suite.yaml``."""
        return self.spec.name

    @staticmethod
    def load(name: str | Path) -> Suite:
        """Load the suite ``mini`` or ``published``, or one from a folder with a ``suite.yaml``.

        Raises:
            UsageError: there is no such suite.
            CanonbenchError: its files are malformed, or the published suite has not been fetched.
        """

        return load(name)

    def task(self, name: str) -> SuiteTask:
        """Return the task called ``name``; UsageError with a "did you mean" if there is none."""
        if name not in self.tasks:
            raise unknown_name("task", name, self.tasks, where=f"of suite {self.name!r}")
        return self.tasks[name]

    def select(self, names: str | Iterable[str]) -> list[str]:
        """Return task names from ``all``, ``a,b`` or an iterable, in the suite's order.

        Raises:
            UsageError: no name is given, or a name is unknown or given twice.
        """
        wanted = list(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else list(names)
        for name in wanted:
            if wanted.count(name) > 1:
                raise UsageError(f"task {name!r} is given twice")
        if wanted == ["all"]:
            return list(self.tasks)
        for name in wanted:
            self.task(name)
        if not wanted:
            raise UsageError("no task given: use --task all, or names separated by commas")
        return [name for name in self.tasks if name in wanted]

    def general(self, name: str | None = None) -> General | None:
        """Return the general text called ``name``; without a name, the first whose files all exist, or None.

        Raises:
            UsageError: the name is unknown.
            CanonbenchError: the files of the named text have not been fetched.
        """
        texts = {key: General(key, self.root, spec) for key, spec in self.spec.general.items()}
        if name is None:
            return next((general for general in texts.values() if general.at_hand), None)
        if name not in texts:
            raise unknown_name("general text", name, [*texts, "none"], where=f"of suite {self.name!r}")
        if not texts[name].at_hand:
            raise CanonbenchError(
                f"general text {name!r} is not at hand; fetch it with 'canonbench data fetch {self.name}'"
            )
        return texts[name]

    def data_hash(self, split: SplitName) -> str:
        """Return the SHA-256 over all task files of a split and the row flags, whichever tasks are run."""
        files = [
            file
            for task in self.tasks.values()
            if split in task.splits
            for file in (
                getattr(task.splits[split].spec, part) for part in ("canonical", "evaluation", "hard_negatives")
            )
        ]
        return _data_hash(self.root, files, self.flags_hash)


def build(spec: SuiteSpec, root: Path, unclean: dict[str, dict[str, frozenset[int]]], flags_hash: str | None) -> Suite:
    """Build a suite from its spec; ``unclean`` maps task and file to flagged rows."""
    tasks = {}
    for name, task_spec in spec.tasks.items():
        standard = TASKS.get(name, Task(name, "", 0.0, ""))
        overrides = {key: value for key in ("loss", "threshold", "success") if (value := getattr(task_spec, key))}
        if task_spec.threshold is not None:
            overrides["threshold"] = task_spec.threshold
        task = replace(standard, **overrides)
        splits = {
            split: Split(root, split_spec, task_spec.subject, LOSSES[task.loss], unclean.get(name, {}))
            for split in ("val", "test")
            if (split_spec := getattr(task_spec, split)) is not None
        }
        tasks[name] = SuiteTask(task, splits)
    return Suite(spec, root, tasks, flags_hash)


def _data_hash(root: Path, files: Iterable[FileSpec], extra: str | None = None) -> str:
    listing = [[file.path, *file.rows, file_hash(root / file.path)] for file in files]
    return hashlib.sha256(json.dumps([listing, extra]).encode()).hexdigest()


NAMES = ("mini", "published")


def default_name() -> str:
    """Return ``published`` if it is available (fetched, or CANONBENCH_PUBLISHED_DIR), else ``mini``."""
    return "published" if published_root() is not None else "mini"


def load(name: str | Path) -> Suite:
    """Load a suite, see ``Suite.load``."""
    if name == "mini":
        return _load(data_root() / "mini" / "suite.yaml", data_root() / "mini")
    if name == "published":
        root = published_root()
        if root is None:
            raise CanonbenchError(
                "the published suite is not at hand; run 'canonbench data fetch published', "
                "or set CANONBENCH_PUBLISHED_DIR to a copy, or use --suite mini"
            )
        return _load(data_root() / "published" / "suite.yaml", root)
    folder = Path(name)
    if is_dir(folder):
        return _load(folder / "suite.yaml", folder)
    if is_file(folder):
        raise CanonbenchError(f"{folder} is a file; a suite is a folder with a suite.yaml")
    raise unknown_name("suite", str(name), NAMES, where="(nor is it a folder)")


def _load(spec_path: Path, root: Path) -> Suite:
    spec = read_spec(spec_path)
    if spec.flags is None:
        return build(spec, root, {}, None)
    flags_path = spec_path.parent / spec.flags.path
    return build(spec, root, _unclean(flags_path, spec), file_hash(flags_path))


def _unclean(path: Path, spec: SuiteSpec) -> dict[str, dict[str, frozenset[int]]]:
    """Return, per task and file, the rows with a flag that makes a row of that task unclean
    (docs/reference/protocol.md#6-rows)."""
    assert spec.flags is not None
    content = validated(FlagsFile, read_json(path), f"the row flags {path}")
    return {
        task: {
            str(Path(spec.flags.root, file)): frozenset(row for flag in names for row in found.get(flag, ()))
            for file, found in content.flags.items()
        }
        for task, names in content.unclean.items()
    }
