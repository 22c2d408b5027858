"""Transformers checkpoints, read strictly: safetensors, no remote code, every weight accounted for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models.source import Source

PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Trust:
    """What the user allowed beyond the safe defaults."""

    pickle: bool = False
    """Read pickle checkpoints (with ``weights_only=True``)."""
    remote_code: bool = False
    """Run Python code that comes with the checkpoint."""


def load_checkpoint(source: Source, *, dtype: Any, trust: Trust, offline: bool) -> Any:
    """The model of a folder, hub id or GGUF file, on the CPU, in evaluation mode.

    Args:
        dtype: a torch dtype, or ``"auto"`` for the checkpoint's own.

    Raises:
        CanonbenchError: a file is missing, corrupt, a pickle, or does not fit the configuration.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    place, options = _place(source, trust, offline)
    if source.kind == "folder":
        _require_safetensors(Path(place), trust)
    with quiet_transformers(), _one_line(source):
        model, info = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, use_safetensors=None if trust.pickle else True, output_loading_info=True, **options
        )
    _check_loaded(source, model, info)
    return model.eval()


def load_tokenizer(source: Source, *, trust: Trust, offline: bool) -> Any:
    """The tokenizer that comes with a folder, hub id or GGUF file; CanonbenchError if there is none."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    place, options = _place(source, trust, offline)
    if source.kind in ("folder", "peft"):
        found = [name for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt") if Path(place, name).is_file()]
        if not (found or Path(place, "tokenizer_config.json").is_file()):
            raise CanonbenchError(f"{place} has no tokenizer; save the model's tokenizer there (tokenizer.save_pretrained)")
    with quiet_transformers(), _one_line(source, "tokenizer of "):
        return AutoTokenizer.from_pretrained(place, **options)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars or warnings of transformers: what matters is checked and said here."""
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _place(source: Source, trust: Trust, offline: bool) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"trust_remote_code": trust.remote_code}
    if source.kind == "hub":
        return source.name, options | {"revision": source.revision or "main", "local_files_only": offline}
    assert source.path is not None
    options["local_files_only"] = True
    if source.kind in ("gguf", "demo"):
        return str(source.path.parent), options | {"gguf_file": source.path.name}
    return str(source.path), options


def _require_safetensors(folder: Path, trust: Trust) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = [path.name for pattern in PICKLES for path in folder.glob(pattern)]
    if not pickles:
        raise CanonbenchError(f"{folder} holds no weights (*.safetensors)")
    if not trust.pickle:
        raise CanonbenchError(
            f"{folder} holds only pickle weights ({pickles[0]}); convert them with save_pretrained, "
            "or pass --allow-pickle to read them with weights_only=True"
        )


def _check_loaded(source: Source, model: Any, info: dict[str, Any]) -> None:
    if missing := sorted(info["missing_keys"]):
        raise CanonbenchError(
            f"{source.name}: the checkpoint lacks {len(missing)} weights that the model needs, {missing[0]!r} first; "
            "they would be random"
        )
    if mismatched := sorted(info["mismatched_keys"]):
        raise CanonbenchError(f"{source.name}: {len(mismatched)} weights have another shape than config.json says: {mismatched[0]}")
    if unexpected := sorted(key for key in info["unexpected_keys"] if not key.endswith(("attn.bias", "masked_bias", "inv_freq"))):
        raise CanonbenchError(
            f"{source.name}: the checkpoint has {len(unexpected)} weights that {type(model).__name__} does not use, "
            f"{unexpected[0]!r} first: an edit would be silently ignored"
        )


@contextmanager
def _one_line(source: Source, what: str = "") -> Iterator[None]:
    """Turn whatever loading raises into one line that names the model."""
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        yield
    except CanonbenchError:
        raise
    except SafetensorError as error:
        raise CanonbenchError(f"{what}{source.name}: a safetensors file is corrupt or truncated ({error}); copy it again") from error
    except MemoryError as error:
        raise CanonbenchError(f"{what}{source.name}: out of memory while loading") from error
    except ImportError as error:
        raise CanonbenchError(f"{what}{source.name}: {_first_line(error)}") from error
    except Exception as error:  # the libraries raise every kind here; the cause is kept for --debug
        raise CanonbenchError(f"cannot load the {what or 'model '}{source.name}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
