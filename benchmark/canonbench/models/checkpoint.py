"""Load transformers checkpoints strictly: safetensors, no remote code, no missing or unused weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from canonbench.errors import CanonbenchError
from canonbench.models import folders as files
from canonbench.models.gguf.file import forget_gguf, gguf_tokenizer, unpacking
from canonbench.models.load_errors import one_line
from canonbench.models.weight_files import explained, read_weights, require_one_name, unwrapped, weight_places

OLD_BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")
"""Name endings of causal masks and rotary tables in old checkpoints; models compute these now."""
OTHER_WEIGHTS = "transformers_weights"
"""The config.json entry that makes transformers read weights from a non-standard file."""


@dataclass(frozen=True)
class Trust:
    """Unsafe inputs that the user has allowed."""

    pickle: bool = False
    """Read pickle checkpoints (with ``weights_only=True``)."""
    remote_code: bool = False
    """Run Python code that comes with the checkpoint."""


def load_checkpoint(path: Path, *, dtype: Any, trust: Trust, say: Callable[[str], None] = lambda _line: None) -> Any:
    """Load the model of a folder or GGUF file, on the CPU, in evaluation mode.

    Args:
        path: a model folder, or a GGUF file.
        dtype: a torch dtype, or ``"auto"`` for the checkpoint's own.
        trust: whether pickles and remote code are allowed.
        say: receives a note if weights were renamed so that they fit.

    Raises:
        CanonbenchError: a file is missing, corrupt or a pickle; the checkpoint is quantized; its weights are not
            exactly those that its configuration requires; or a weight occurs twice with different values.
    """

    with one_line(f"model {path}", hint=_hint(path)), _where(path, trust) as (folder, options):
        places = _check_folder(path, trust) if path.is_dir() else {}
        load = _loader(path, folder, places, options, say)
        model, info = load(
            dtype=dtype,
            use_safetensors=None if trust.pickle else True,  # None: safetensors if present
            weights_only=True,
            ignore_mismatched_sizes=True,  # _check_loaded reports them by name
            output_loading_info=True,
            **options,
        )
    require_one_name(places.keys(), model.base_model_prefix, model.state_dict().keys(), path)
    _check_loaded(path, model, info)
    if path.is_file():
        forget_gguf(model)
    return model.eval()


def load_tokenizer(path: Path, *, trust: Trust) -> Any:
    """Load the tokenizer of a folder or GGUF file; CanonbenchError if it is missing or cannot be read."""
    from transformers import AutoTokenizer  # noqa: PLC0415  (slow to import)

    if path.is_dir():
        if not files.has_tokenizer(path):
            raise CanonbenchError(f"{path} has no tokenizer; put the model's there with tokenizer.save_pretrained")
        for name in files.TOKENIZER_TEXTS:
            if (path / name).is_file():
                (files.read_json if name.startswith("tokenizer") else files.require_utf8)(path / name)
    with one_line(f"the tokenizer of {path}", hint=_hint(path)):
        if path.is_file():
            return gguf_tokenizer(path)
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust.remote_code, local_files_only=True)


@contextmanager
def _where(path: Path, trust: Trust) -> Iterator[tuple[str, dict[str, Any]]]:
    """The folder and ``from_pretrained`` options for a model folder or GGUF file."""
    options = {"trust_remote_code": trust.remote_code, "local_files_only": True}
    if path.is_dir():
        yield str(path), options
    else:
        with unpacking(path) as (folder, more):
            yield folder, options | more


def _hint(path: Path) -> str:
    return "" if path.is_dir() else "; is the file truncated or corrupt?"  # GGUF readers' own message is obscure


def _check_folder(folder: Path, trust: Trust) -> dict[str, Path]:
    """Check a folder and return the file of each weight, by name; CanonbenchError if the model cannot be scored."""
    config = files.read_json(folder / files.CONFIG)
    if (folder / files.GENERATION).is_file():
        files.require_utf8(folder / files.GENERATION)
    if quantization := config.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise CanonbenchError(
            f"{folder} is quantized ({method}), so its scores would depend on kernels; dequantize it and save it again"
        )
    if (named := config.get(OTHER_WEIGHTS)) is not None:
        raise CanonbenchError(
            f"{folder / files.CONFIG} names {named!r} as the file of the weights ({OTHER_WEIGHTS}), whatever lies "
            "beside it; take that entry out, or save the model again with save_pretrained"
        )
    instead = files.look_inside(folder)
    files.require_weights(files.names(folder), str(folder), allow_pickle=trust.pickle, instead=instead)
    return weight_places(folder, allow_pickle=trust.pickle)


def _loader(
    path: Path, folder: str, places: Mapping[str, Path], options: dict[str, Any], say: Callable[[str], None]
) -> Callable[..., Any]:
    """The function that loads the model: from the folder, or from renamed weights if it was saved inside a wrapper."""
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415  (slow to import)

    auto: Any = AutoModelForCausalLM
    found = unwrapped(places.keys())
    if found is None:
        return partial(auto.from_pretrained, folder)

    say(f"{path} was saved out of {found.whose}; its weights are read by the names that they have without that")
    config = AutoConfig.from_pretrained(folder, **options)
    with torch.device("meta"):
        own: Any = type(auto.from_config(config, trust_remote_code=options["trust_remote_code"]))
    weights = {found.names[name]: weight for name, weight in read_weights(places).items()}
    return partial(own.from_pretrained, None, config=config, state_dict=weights)


def _check_loaded(path: Path, model: Any, info: dict[str, Any]) -> None:
    """CanonbenchError unless the checkpoint's weights match the model's by name and shape."""
    if mismatched := sorted(info["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise CanonbenchError(
            f"{path}: {len(mismatched)} weights do not have the shape that the configuration calls for; "
            f"{name!r} is {_shape(found)}, not {_shape(wanted)}"
        )
    if missing := sorted(info["missing_keys"]):
        if why := explained(path, missing, info["unexpected_keys"]):
            raise CanonbenchError(why)
        raise CanonbenchError(
            f"{path} lacks {len(missing)} of the model's weights, {missing[0]!r} first; they would be random"
        )
    if unexpected := sorted(key for key in info["unexpected_keys"] if not key.endswith(OLD_BUFFERS)):
        raise CanonbenchError(
            f"{path} has {len(unexpected)} weights that {type(model).__name__} does not use, {unexpected[0]!r} first; "
            "an edit there would be silently ignored"
        )


def _shape(size: Any) -> str:
    return "x".join(str(n) for n in size)
