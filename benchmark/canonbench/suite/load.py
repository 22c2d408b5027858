"""Suites by name: the embedded one, the published one, or a folder of your own."""

from __future__ import annotations

from pathlib import Path

from canonbench.errors import CanonbenchError, unknown_name
from canonbench.files import file_hash, is_dir, is_file
from canonbench.records import read_json, validated
from canonbench.suite.fetch import published_root
from canonbench.suite.paths import data_root
from canonbench.suite.spec import FlagsFile, SuiteSpec, read_spec
from canonbench.suite.suite import Suite, build

NAMES = ("mini", "published")


def default_name() -> str:
    """``published`` where it is at hand (fetched, or CANONBENCH_PUBLISHED_DIR), else ``mini``."""
    return "published" if published_root() is not None else "mini"


def load(name: str | Path) -> Suite:
    """See ``Suite.load``."""
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
    """Per task and file, the rows with a flag that makes a row of that task unclean
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
