"""``canonbench_edit.json``: the description of an edited model that an edit run saved."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from canonbench.errors import CanonbenchError
from canonbench.models import folders as files
from canonbench.records import read_json, validated

FORMAT: Literal[1] = 1


class NotKept(CanonbenchError):
    """An artefact cannot hold everything the edit changed; the cause is the edit, not the disk."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Hashes(_Part):
    """A model's fingerprint without the hashes of single tensors."""

    weights: str
    """SHA-256 over all tensors."""
    config: str
    """SHA-256 of the configuration."""


class EditedBase(_Part):
    """The model that was edited."""

    name: str
    """The name as ``--model`` takes it; a local folder or file by its absolute path."""
    revision: str | None
    """The exact commit of a hub id."""
    fingerprint: Hashes
    """Hashes that identify the base by content."""


class Context(_Part):
    """The context that an in-context edit puts before every sequence."""

    ids: list[int]
    """Token ids."""
    text: str
    """The same as text, for readers."""


class EditFile(_Part):
    """The content of ``canonbench_edit.json``."""

    format: Literal[1]
    """Version of this format."""
    kind: Literal["peft", "delta", "senses", "in-context"]
    """``peft``: an adapter, in PEFT's own files. ``delta``: new values of whole tensors, in delta.safetensors.
    ``senses``: vectors added to senses of a Backpack, in senses.safetensors. ``in-context``: a context and no
    weights."""
    canonbench: str
    """The version of canonbench that wrote the file."""
    base: EditedBase
    """The model that was edited."""
    dtype: str
    """The dtype in which the weights were edited, as ``float32``."""
    fingerprint: Hashes
    """Hashes of the edited model as it is scored."""
    record: dict[str, JsonValue]
    """How the edit was made: method, hyperparameters, task, seed, candidate."""
    tensors: dict[str, str] | None = None
    """Hashes of tensors by name. For a delta: the new values of every tensor that differs from the base's. For
    senses: every tensor that the base does not have."""
    context: Context | None = None
    """The context, for an in-context edit only."""

    def write(self, folder: Path) -> None:
        """Write the file into an artefact's folder."""
        text = self.model_dump_json(indent=1) + "\n"
        (folder / files.EDIT_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> EditFile:
        """Read the file in an artefact's folder.

        Raises:
            CanonbenchError: the file is damaged, or its format is unknown to this version.
        """
        path = folder / files.EDIT_FILE
        content = read_json(path)
        if content.get("format") != FORMAT:
            raise CanonbenchError(
                f"{path} has format {content.get('format')!r}, this version of canonbench reads {FORMAT}; upgrade it"
            )
        return validated(cls, content, f"{path} is damaged")
