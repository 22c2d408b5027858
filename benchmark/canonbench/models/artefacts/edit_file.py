"""``canonbench_edit.json``: what an edit run says of a model that it kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from canonbench.errors import CanonbenchError
from canonbench.models import folders as files
from canonbench.records import read_json, validated

FORMAT: Literal[1] = 1


class NotKept(CanonbenchError):
    """An artefact cannot hold all of an edited model: the edit is at fault, not the disk."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Hashes(_Part):
    """A model's fingerprint, without its tensors."""

    weights: str
    """SHA-256 over all tensors."""
    config: str
    """SHA-256 of the configuration."""


class EditedBase(_Part):
    """The model that was edited."""

    name: str
    """What ``--model`` takes; a folder or file on this machine by its absolute path."""
    revision: str | None
    """The exact commit of a hub id."""
    fingerprint: Hashes
    """What it is, whatever it is called."""


class Context(_Part):
    """What an in-context edit puts in front of every sequence."""

    ids: list[int]
    """Token ids."""
    text: str
    """The same for people."""


class EditFile(_Part):
    """The content of the file."""

    format: Literal[1]
    """Version of this format."""
    kind: Literal["peft", "delta", "senses", "in-context"]
    """``peft``: an adapter, in PEFT's own files. ``delta``: new values of whole tensors, in delta.safetensors.
    ``senses``: vectors added to senses of a Backpack, in senses.safetensors. ``in-context``: a context and no
    weights."""
    canonbench: str
    """The version that wrote it."""
    base: EditedBase
    """The model that was edited."""
    dtype: str
    """Of the weights when they were edited, as ``float32``."""
    fingerprint: Hashes
    """Of the edited model as it is scored."""
    record: dict[str, JsonValue]
    """How it came about: method, hyperparameters, task, seed, candidate."""
    tensors: dict[str, str] | None = None
    """Of a delta: every tensor that differs from the base's, and the hash of its new value. Of senses: every tensor
    that the base does not have."""
    context: Context | None = None
    """Of an in-context edit."""

    def write(self, folder: Path) -> None:
        """Write the file into an artefact's folder."""
        text = self.model_dump_json(indent=1) + "\n"
        (folder / files.EDIT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> EditFile:
        """The file in an artefact's folder.

        Raises:
            CanonbenchError: it is damaged, or of a format that this version does not know.
        """
        path = folder / files.EDIT_FILE
        content = read_json(path)
        if content.get("format") != FORMAT:
            raise CanonbenchError(
                f"{path} has format {content.get('format')!r}, this version of canonbench reads {FORMAT}; upgrade it"
            )
        return validated(cls, content, f"{path} is damaged")
