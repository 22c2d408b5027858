"""Export an adapter or an edit run's artefact as a full checkpoint that plain transformers can load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import appearing
from canonbench.model_names import is_ensemble
from canonbench.models import Loading, Trust, base_name, edit_of, load_model, quiet_transformers
from canonbench.models import folders as files
from canonbench.network import to_stderr


def export(
    artefact: str | Path,
    to: str | Path,
    *,
    base: str | Path | None = None,
    device: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> Path:
    """Write the edited model of ``artefact`` to the folder ``to``: configuration, safetensors and tokenizer.

    The checkpoint has the dtype of the edit and scores the same. An adapter on a half-precision base is scored
    unmerged but exported merged in float32, so its scores agree only up to rounding.

    Args:
        artefact: an adapter (folder or hub id), or an artefact folder of an edit run.
        to: a new or empty folder; it appears complete or not at all.
        base: the base model, if it is not at the place that the artefact names.
        device: where an adapter is merged; rounding is the same only on devices of one kind.
        allow_pickle: read pickled weights too, with ``weights_only=True``.
        trust_remote_code: run Python code that comes with the base.
        say: receives notes.

    Returns:
        The folder.

    Raises:
        UsageError: ``to`` is in use, or ``artefact`` is not an edit of a base.
        CanonbenchError: the edit has no weights or cannot be merged, or a file cannot be read or written.
    """
    target = Path(to)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"--to {target}: is there already; give a new or empty folder")
    how = Loading(device, trust=Trust(allow_pickle, trust_remote_code), say=say)
    if is_ensemble(artefact):
        raise UsageError(f"{artefact} is three models, scored together: there is no one checkpoint to write")
    if base_name(artefact, how) is None:
        raise UsageError(f"{artefact} is a whole model already, no adapter or edit: there is nothing to export")
    loaded = load_model(artefact, replace(how, dtype=_own_dtype(artefact, how)), base=base)
    model = loaded.model
    if hasattr(model, "peft_config"):
        raise CanonbenchError(
            f"{artefact}: a {model.active_peft_config.peft_type.value} adapter cannot be merged into the weights, "
            "so it has no checkpoint of its own; load it with peft, on its base"
        )
    _save(model, loaded.tokenizer, target)
    return target


def _own_dtype(artefact: str | Path, how: Loading) -> str:
    """Return the edit's own dtype; for an adapter float32, since merging adds weights, unless edited in float64."""
    edit = edit_of(artefact, how)
    if edit is None:
        return "float32"
    if edit.kind == "in-context":
        raise CanonbenchError(
            f"{artefact} is an in-context edit: it changes no weights, so there is no checkpoint to write; "
            f"its text is in {files.EDIT_FILE}"
        )
    return edit.dtype if edit.kind in ("delta", "senses") or edit.dtype == "float64" else "float32"


def _save(model: Any, tokenizer: Any, target: Path) -> None:
    with appearing(target) as part, quiet_transformers():
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
