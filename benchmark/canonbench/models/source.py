"""Parse ``--model``: a folder, hub id, adapter, edit artefact, GGUF file, ensemble or demo model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import is_dir, is_file
from canonbench.model_names import HUB_ID, Kind, is_ensemble
from canonbench.models.demo import SHIPPED, shipped_path
from canonbench.models.folders import ADAPTER_CONFIG, CONFIG, EDIT_FILE, look_inside

DEMOS = ("demo", *SHIPPED)
"""``demo`` is fetched on first use; the others ship with the package."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    kind: Kind
    name: str
    """As the user wrote it; a hub id without its revision."""
    path: Path | None = None
    revision: str | None = None
    """The revision of a hub id: as the user wrote it, then the exact commit once the model is loaded."""


def parse_source(name: str | Path) -> Source:
    """Find out what kind of model ``name`` is; files on disk take precedence over hub ids.

    Raises:
        UsageError: ``name`` is not on disk and is not a valid hub id.
        CanonbenchError: ``name`` is a folder without a model.
    """
    text = str(name)
    if is_ensemble(text):
        return Source("ensemble", text)
    if text in DEMOS:
        return Source("demo", text, shipped_path(text) if text in SHIPPED else None)
    path = Path(name).expanduser()
    if text and is_dir(path):  # Path("") is the working folder
        return Source(_kind_of(path), text, path)
    if is_file(path):
        if path.suffix == ".gguf":
            return Source("gguf", text, path)
        raise UsageError(f"{path} is a file; a model is a folder, a .gguf file, a hub id, or one of {', '.join(DEMOS)}")
    is_path = isinstance(name, Path) or text.startswith(("/", ".", "~")) or text.endswith(".gguf")
    if is_path or not HUB_ID.fullmatch(text):
        raise UsageError(f"no model at {text!r}: there is no such file or folder, and it is not a hub id")
    if close := difflib.get_close_matches(text, DEMOS, n=1, cutoff=0.75):
        raise UsageError(f"unknown model {text!r}. Did you mean {close[0]!r}?")
    identifier, _, revision = text.partition("@")
    return Source("hub", identifier, revision=revision or None)


def _kind_of(folder: Path) -> Kind:
    """The kind of model in a folder, from the first marker file found."""
    tell: tuple[tuple[str, Kind], ...] = ((ADAPTER_CONFIG, "peft"), (EDIT_FILE, "edit"), (CONFIG, "folder"))
    for file, kind in tell:
        if (folder / file).is_file():
            return kind
    raise CanonbenchError(
        f"{folder} holds neither {CONFIG} nor {ADAPTER_CONFIG} nor {EDIT_FILE}: not a model folder{look_inside(folder)}"
    )
