"""Artefacts: what is kept of an edited model. Its base, by name and fingerprint, and whatever the edit changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from canonbench._version import __version__
from canonbench.errors import CanonbenchError
from canonbench.files import appearing
from canonbench.models import folders as files
from canonbench.models.artefacts.delta import apply_delta, as_scored, changed_tensors, write_delta
from canonbench.models.artefacts.edit_file import FORMAT, Context, EditedBase, EditFile, Hashes
from canonbench.models.artefacts.in_context import InContext
from canonbench.models.artefacts.peft import apply_adapter, require_untouched, write_adapter
from canonbench.models.artefacts.senses import apply_sense_edit, edited_senses, write_sense_edit
from canonbench.models.checkpoint import Trust
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.source import DEMOS, parse_source

if TYPE_CHECKING:
    from canonbench.models.load import LoadedModel


class Named(Protocol):
    """A model by name, as ``Source`` and a row's ``ModelReference`` are."""

    @property
    def name(self) -> str:
        """What ``--model`` takes."""

    @property
    def revision(self) -> str | None:
        """The exact commit of a hub id."""


def save_artefact(
    model: Any, folder: Path, *, base: Named, base_fingerprint: Fingerprint, record: Mapping[str, Any]
) -> None:
    """Keep an edited model in ``folder``; ``load_model`` opens it, and it then scores the same, bit for bit.

    A PeftModel becomes a PEFT folder, an InContext its token ids, a Backpack with edited senses the vectors that were
    added to them, and any other causal LM the new values of the weights that differ from the base's. Beside them lies
    ``canonbench_edit.json``. The folder appears complete or not at all; an older artefact of that name is replaced.

    Args:
        model: the edited model.
        folder: where to keep it; its parent folder is made if need be.
        base: the model that was edited, by name.
        base_fingerprint: of the base, in the dtype of ``model``.
        record: how it came about, for people: method, hyperparameters, task, seed, candidate.

    Raises:
        NotKept: the model has another architecture than its base or is the unedited model, or is otherwise more than
            an artefact holds, as far as its weights tell (see ``canonbench.models.artefacts.proof`` for the rest).
        CanonbenchError: a weight is NaN, or the folder cannot be written.
    """
    from peft import PeftModel  # noqa: PLC0415  (seconds to import)

    with as_scored(model) as scored:
        found = fingerprint(scored)
    content = EditFile(
        format=FORMAT,
        kind="delta",
        canonbench=__version__,
        base=EditedBase(name=lasting_name(base.name), revision=base.revision, fingerprint=_hashes(base_fingerprint)),
        dtype=str(model.dtype).removeprefix("torch."),
        fingerprint=_hashes(found),
        record=dict(record),
    )
    if isinstance(model, PeftModel):
        content = content.model_copy(update={"kind": "peft"})
        _write(folder, content, lambda part: write_adapter(model, part, content.base, base_fingerprint))
    elif isinstance(model, InContext):
        require_untouched(fingerprint(model.model), base_fingerprint, "in-context edit")
        context = Context(ids=model.context_ids.tolist(), text=model.text)
        _write(folder, content.model_copy(update={"kind": "in-context", "context": context}), lambda _part: None)
    else:
        if senses := edited_senses(found, base_fingerprint):
            content = content.model_copy(update={"kind": "senses", "tensors": senses})
            _write(folder, content, lambda part: write_sense_edit(model, part / files.SENSES))
            return
        changed = changed_tensors(found, base_fingerprint)
        content = content.model_copy(update={"tensors": changed})
        _write(folder, content, lambda part: write_delta(model, changed, part / files.DELTA))


def open_artefact(folder: Path, base: LoadedModel) -> LoadedModel:
    """The edited model of an artefact, made of ``base`` in place; as ``load_model``, for a base that is at hand.

    Raises:
        CanonbenchError: ``base`` is another model than the one that was edited, in another dtype, or a file is missing
            or corrupt.
    """
    require_base(base.model, EditFile.read(folder), folder, base.source.name)
    return replace(base, model=apply_edit(base.model, folder, Trust()), source=parse_source(folder))


def is_artefact(folder: Path) -> bool:
    """Whether a folder holds a whole artefact, as far as can be told without reading it."""
    return (folder / files.EDIT_FILE).is_file()


def lasting_name(name: str) -> str:
    """A model's name from wherever it is read: a folder or file on this machine by its absolute path."""
    path = Path(name).expanduser()
    return str(path.absolute()) if name and name not in DEMOS and path.exists() else name


def base_of_edit(folder: Path) -> str:
    """The base that an artefact without PEFT files names; a relative path is looked up from the folder too.

    Raises:
        CanonbenchError: ``canonbench_edit.json`` is damaged.
    """
    base = EditFile.read(folder).base
    return files.find_base(folder, base.name, base.revision)


def require_base(model: Any, edit: EditFile, what: str | Path, base: str | Path) -> None:
    """CanonbenchError unless ``model`` is the one that was edited."""
    found = _hashes(fingerprint(model))
    if found != edit.base.fingerprint:
        part = "weights" if found.weights != edit.base.fingerprint.weights else "configuration"
        raise CanonbenchError(
            f"{base} is not the model that {what} is an edit of: the fingerprint of its {part} differs; "
            "give that model with --base"
        )


def apply_edit(base: Any, folder: Path, trust: Trust, say: Callable[[str], None] = lambda _line: None) -> Any:
    """The edited model of an adapter's or artefact's folder, made of its base in place.

    Raises:
        CanonbenchError: a file is missing or corrupt, or does not fit the base.
    """
    if files.is_adapter(files.names(folder)):
        return apply_adapter(base, folder, trust=trust, say=say)
    edit = EditFile.read(folder)
    if edit.context is not None:
        return InContext(base, edit.context.ids, edit.context.text)
    path = folder / (files.SENSES if edit.kind == "senses" else files.DELTA)
    if edit.tensors is None or not path.is_file():
        raise CanonbenchError(f"{folder} holds no {path.name}; is the copy incomplete?")

    (apply_sense_edit if edit.kind == "senses" else apply_delta)(base, edit.tensors, path)
    return base


def _hashes(found: Fingerprint) -> Hashes:
    return Hashes(weights=found.weights, config=found.config)


def _write(folder: Path, content: EditFile, fill: Callable[[Path], None]) -> None:
    if folder.exists() and not is_artefact(folder):
        raise CanonbenchError(f"{folder} is there already and is no artefact; give another folder")
    with appearing(folder) as part:
        fill(part)
        content.write(part)
