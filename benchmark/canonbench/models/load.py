"""Any causal LM behind one face: load it, say what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canonbench.errors import CanonbenchError
from canonbench.models.adapter import apply_adapter, base_of
from canonbench.models.checkpoint import Trust, load_checkpoint, load_tokenizer
from canonbench.models.demo import demo_path
from canonbench.models.device import choose_device, choose_dtype
from canonbench.models.source import Source, parse_source
from canonbench.offline import cache_dir, is_offline, require_network

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
    """How models are loaded in one run."""

    device: str = "auto"
    dtype: str = "auto"
    trust: Trust = Trust()
    say: Callable[[str], None] = lambda _line: None


def load_model(name: str | Path, how: Loading, *, base: str | Path | None = None) -> LoadedModel:
    """Load a folder, hub id, PEFT adapter, GGUF file or the demo model.

    Args:
        name: see ``parse_source``.
        how: device, dtype, trust.
        base: for an adapter, the base model to put it on instead of the one it names.

    Raises:
        UsageError: no such model or device.
        CanonbenchError: the files are missing, corrupt or unsafe, or the network is needed and forbidden.
    """
    source = parse_source(name)
    if source.kind == "peft":
        return _load_adapter(source, how, base)
    source = _reachable(source, how)
    model = load_checkpoint(source, dtype="auto", trust=how.trust, offline=is_offline())
    model = place(model, how)
    tokenizer = load_tokenizer(source, trust=how.trust, offline=is_offline())
    return LoadedModel(model, tokenizer, replace(source, revision=_revision(model, source)))


def base_name(name: str | Path) -> str | None:
    """The base that an adapter names; None for every other kind of model."""
    source = parse_source(name)
    return base_of(source.path) if source.kind == "peft" and source.path else None


def in_memory(model: Any, tokenizer: Any, name: str) -> LoadedModel:
    """A model that the caller already holds; it is scored where and as it is, in evaluation mode."""
    return LoadedModel(model.eval(), tokenizer, Source("memory", name))


def place(model: Any, how: Loading) -> Any:
    """Move a model to the run's device and dtype."""
    device = choose_device(how.device)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    dtype = choose_dtype(how.dtype, checkpoint=model.dtype, n_parameters=n_parameters, device=device)
    return model.to(device=device, dtype=dtype)


def _load_adapter(source: Source, how: Loading, base: str | Path | None) -> LoadedModel:
    assert source.path is not None
    loaded = load_model(base or base_of(source.path), how)
    if loaded.source.kind == "peft":
        raise CanonbenchError(f"the base of the adapter {source.name} is itself an adapter; merge it first")
    model = apply_adapter(loaded.model, source.path, trust=how.trust)
    own = any(Path(source.path, file).is_file() for file in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"))
    tokenizer = load_tokenizer(source, trust=how.trust, offline=True) if own else loaded.tokenizer
    return LoadedModel(place(model, how), tokenizer, source)


def _reachable(source: Source, how: Loading) -> Source:
    """Announce the network where a source needs it; the demo model becomes its file."""
    if source.kind == "demo":
        return replace(source, path=demo_path(cache_dir(), how.say))
    if source.kind == "hub" and not is_offline():
        require_network(f"model {source.name} from the Hugging Face hub", how.say)
    return source


def _revision(model: Any, source: Source) -> str | None:
    """The exact commit that a hub id resolved to."""
    return (getattr(model.config, "_commit_hash", None) or source.revision) if source.kind == "hub" else None
