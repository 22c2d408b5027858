"""Load any causal LM, from whatever source, with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canonbench.errors import CanonbenchError
from canonbench.model_names import parse_ensemble
from canonbench.models import folders as files
from canonbench.models import hub
from canonbench.models.architecture import require_causal
from canonbench.models.artefacts.artefact import apply_edit, base_of_edit, require_base
from canonbench.models.artefacts.edit_file import EditFile
from canonbench.models.artefacts.peft import base_of
from canonbench.models.checkpoint import Trust, load_checkpoint, load_tokenizer
from canonbench.models.demo import demo_path
from canonbench.models.device import choose_device, choose_dtype, named_dtype
from canonbench.models.fingerprint import Fingerprint, fingerprint
from canonbench.models.load_errors import one_line
from canonbench.models.source import Source, parse_source
from canonbench.network import cache_dir

if TYPE_CHECKING:
    import torch


@dataclass
class LoadedModel:
    """A causal LM in evaluation mode on its device, its tokenizer, and where it came from."""

    model: Any
    tokenizer: Any
    source: Source

    @property
    def dtype(self) -> str:
        """The dtype of the weights, as ``float32``."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.device
        return device


@dataclass(frozen=True)
class Loading:
    """Settings for loading models in one run."""

    device: str = "auto"
    dtype: str = "auto"
    trust: Trust = field(default_factory=Trust)
    say: Callable[[str], None] = lambda _line: None
    said: set[str] = field(default_factory=set, compare=False)
    """Notes already given, so that each is given once however often a model is loaded."""

    def say_once(self, line: str) -> None:
        """Pass ``line`` to ``say`` unless that was done before."""
        if line not in self.said:
            self.said.add(line)
            self.say(line)


def load_model(name: str | Path, how: Loading, *, base: str | Path | None = None) -> LoadedModel:
    """Load a folder, hub id, PEFT adapter, edit artefact, GGUF file, ensemble or demo model.

    Args:
        name: see ``parse_source``.
        how: device, dtype, trust.
        base: for an adapter or artefact, the base model to use instead of the one it names; for an ensemble, the base
            of its small edited model.

    Raises:
        UsageError: the model, device or dtype does not exist.
        CanonbenchError: the files are missing, corrupt, unsafe or do not fit together, or the network is needed and
            forbidden.
    """
    choose_device(how.device)  # report a misspelled device or dtype before anything is fetched
    named_dtype(how.dtype)
    parsed = parse_source(name)
    if parsed.kind == "ensemble":
        from canonbench.models.ensemble.load import load_ensemble  # noqa: PLC0415  (loads its parts by this function)

        return load_ensemble(parsed, how, base)
    source, path = _locate(parsed, how)
    if _base_of(path) is not None:
        return _load_on_base(source, path, how, base)
    model = _load_whole(path, how)
    with one_line(f"model {source.name}"):  # the device's memory may run out
        model = in_own_memory(place(model, how))
    _try_out(model, source)
    return LoadedModel(model, load_tokenizer(path, trust=how.trust), source)


def base_name(name: str | Path, how: Loading | None = None) -> str | None:
    """The base named by an adapter or edit artefact, or the large model of an ensemble; None for other models.

    A hub id is fetched to see whether it is an adapter, but only if ``how`` is given.
    """
    source = parse_source(name)
    if source.kind == "ensemble":
        return parse_ensemble(source.name).large
    path = source.path
    if source.kind == "hub" and how is not None:
        _, path = _locate(source, how)
    return None if path is None else _base_of(path)


def edit_of(name: str | Path, how: Loading) -> EditFile | None:
    """The ``canonbench_edit.json`` of an edit artefact; None for other models."""
    source = parse_source(name)
    if source.kind == "ensemble":
        return None
    _, path = _locate(source, how)
    return EditFile.read(path) if (path / files.EDIT_FILE).is_file() else None


def in_memory(model: Any, tokenizer: Any, name: str) -> LoadedModel:
    """Wrap a model that the caller already holds; its device and dtype stay, and it is set to evaluation mode.

    Weights that are still memory-mapped from a file are copied into memory.
    """
    source = Source("memory", name)
    _try_out(in_own_memory(model.eval()), source)
    return LoadedModel(model, tokenizer, source)


def place(model: Any, how: Loading) -> Any:
    """Move a model to the run's device."""
    return model.to(choose_device(how.device))


def in_own_memory(model: Any) -> Any:
    """Copy weights that are still memory-mapped from a file into memory, one at a time, in place.

    Otherwise, overwriting the file would change the model after its fingerprint was taken, and truncating it would
    kill the process.
    """
    copies: dict[tuple[Any, ...], Any] = {}  # tied weights stay tied
    for weight in (*model.parameters(), *model.buffers()):
        if weight.device.type == "cpu" and _is_mapped(weight):
            key = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype)
            if key not in copies:
                copies[key] = weight.detach().clone()
            weight.data = copies[key]
    return model


def _is_mapped(weight: Any) -> bool:
    """Whether a weight may be memory-mapped: its storage is neither resizable nor shared between processes."""
    storage = weight.untyped_storage()
    return bool(weight.numel()) and not storage.resizable() and not storage.is_shared()


def _load_whole(path: Path, how: Loading) -> Any:
    """Load the model of a folder or GGUF file in the run's dtype.

    If that is not the checkpoint's dtype, the checkpoint is read again. Casting the model instead would also round
    tables computed at construction, such as rotary frequencies, and change logits by up to 2e-2 in bfloat16.
    """
    options: dict[str, Any] = {"trust": how.trust, "say": how.say_once}
    model = load_checkpoint(path, dtype=named_dtype(how.dtype) or "auto", **options)
    dtype = choose_dtype(how.dtype, checkpoint=model.dtype, n_parameters=model.num_parameters())
    return model if model.dtype == dtype else load_checkpoint(path, dtype=dtype, **options)


def _try_out(model: Any, source: Source) -> None:
    """CanonbenchError if the model cannot run on token ids alone or is not a causal language model."""
    with one_line(f"model {source.name}"):
        require_causal(model, source.name)


def _locate(source: Source, how: Loading) -> tuple[Source, Path]:
    """The path of a source's files, fetched if necessary; a hub id gets the exact commit as its revision."""
    if source.kind == "demo" and source.path is None:
        return source, demo_path(cache_dir(), how.say)
    if source.kind == "hub":
        path = hub.fetch(source.name, source.revision, trust=how.trust, say=how.say)
        return replace(source, revision=path.name), path
    assert source.path is not None
    return source, source.path


def _base_of(path: Path) -> str | None:
    """The base named by the adapter or edit in a folder; None if the folder holds neither."""
    found = files.names(path) if path.is_dir() else []
    if files.is_adapter(found):
        return base_of(path)
    return base_of_edit(path) if files.EDIT_FILE in found else None


def _load_on_base(source: Source, path: Path, how: Loading, base: str | Path | None) -> LoadedModel:
    """Load an adapter or edit artefact on its base."""
    loaded = _load_base(source, path, how, base)
    model = apply_edit(loaded.model, path, how.trust, how.say_once)
    _try_out(model, source)
    tokenizer = load_tokenizer(path, trust=how.trust) if files.has_tokenizer(path) else loaded.tokenizer
    return LoadedModel(model, tokenizer, source)


def _load_base(source: Source, path: Path, how: Loading, base: str | Path | None) -> LoadedModel:
    """Load the base of an adapter or artefact; an artefact's base must have the fingerprint that the artefact names."""
    base = base or _base_of(path) or ""
    if base_name(base, how) is not None:
        raise CanonbenchError(f"the base of {source.name} is itself an adapter or edit ({base}); merge that one first")
    loaded = load_model(base, how)
    if not (path / files.EDIT_FILE).is_file():
        return loaded
    edit = EditFile.read(path)
    if loaded.dtype == edit.dtype:
        require_base(loaded.model, edit, source.name, str(base))
        return loaded
    mark = fingerprint(loaded.model)
    how.say_once(
        f"{source.name} was edited in {edit.dtype} and is cast to {loaded.dtype}, so its scores will not be "
        f"those of the edit run; pass --dtype {edit.dtype} for those"
    )
    loaded.model = None  # one model in memory at a time
    require_base(load_model(base, replace(how, dtype=edit.dtype)).model, edit, source.name, str(base))
    loaded = load_model(base, how)
    require_unchanged(loaded, mark)
    return loaded


def require_unchanged(loaded: LoadedModel, mark: Fingerprint) -> None:
    """CanonbenchError if a reloaded model's fingerprint differs from ``mark``, taken at the first load."""
    if fingerprint(loaded.model).key != mark.key:
        raise CanonbenchError(
            f"{loaded.source.name} has changed since this run began (its fingerprint was {mark.weights[:12]}): leave "
            "its files alone meanwhile, and give another --run to start anew"
        )
