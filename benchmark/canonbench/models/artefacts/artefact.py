"""Save and open artefacts: an edited model stored as the name and fingerprint of its base and what the edit changed."""

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
    """Anything that names a model, such as ``Source`` or a row's ``ModelReference``."""

    @property
    def name(self) -> str:
        """The name in the form that ``--model`` takes."""

    @property
    def revision(self) -> str | None:
        """The exact commit of a hub id."""


def save_artefact(
    model: Any, folder: Path, *, base: Named, base_fingerprint: Fingerprint, record: Mapping[str, Any]
) -> None:
    """Save an edited model in ``folder``; ``load_model`` opens it with bitwise identical scores.

    What is saved depends on the model: a PeftModel's adapter, an InContext's token ids, the vectors added to a
    Backpack's senses, or, for any other causal LM, the new values of the weights that differ from the base's.
    ``canonbench_edit.json`` is written beside them. The folder appears complete or not at all and replaces an older
    artefact of the same name.

    Args:
        model: the edited model.
        folder: the target; its parent folder is created if necessary.
        base: the name of the model that was edited.
        base_fingerprint: the base's fingerprint, in the dtype of ``model``.
        record: how the edit was made, for readers: method, hyperparameters, task, seed, candidate.

    Raises:
        NotKept: the model differs in architecture from its base, is unedited, or has other changes that an artefact
            cannot hold. Only weights are checked here; ``canonbench.models.artefacts.proof`` checks the rest.
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
    """Apply an artefact to ``base``, in place; like ``load_model``, but for a base that is already loaded.

    Raises:
        CanonbenchError: ``base`` is not the model that was edited, or has another dtype, or a file is missing or
            corrupt.
    """
    require_base(base.model, EditFile.read(folder), folder, base.source.name)
    return replace(base, model=apply_edit(base.model, folder, Trust()), source=parse_source(folder))


def is_artefact(folder: Path) -> bool:
    """Whether a folder holds an artefact; its content is not read."""
    return (folder / files.EDIT_FILE).is_file()


def lasting_name(name: str) -> str:
    """A model's name that works from any working folder: local paths become absolute."""
    path = Path(name).expanduser()
    return str(path.absolute()) if name and name not in DEMOS and path.exists() else name


def base_of_edit(folder: Path) -> str:
    """The base named by an artefact without PEFT files; a relative path is looked up from the folder too.

    Raises:
        CanonbenchError: ``canonbench_edit.json`` is damaged.
    """
    base = EditFile.read(folder).base
    return files.find_base(folder, base.name, base.revision)


def require_base(model: Any, edit: EditFile, what: str | Path, base: str | Path) -> None:
    """CanonbenchError unless ``model`` has the base fingerprint recorded in ``edit``."""
    found = _hashes(fingerprint(model))
    if found != edit.base.fingerprint:
        part = "weights" if found.weights != edit.base.fingerprint.weights else "configuration"
        raise CanonbenchError(
            f"{base} is not the model that {what} is an edit of: the fingerprint of its {part} differs; "
            "give that model with --base"
        )


def apply_edit(base: Any, folder: Path, trust: Trust, say: Callable[[str], None] = lambda _line: None) -> Any:
    """Apply an adapter or artefact to its base, in place, and return the edited model.

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
