"""What a model folder must hold, told from its file names and its JSON before anything large is read or fetched."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from pathlib import Path
from typing import Any

from canonbench import records
from canonbench.errors import CanonbenchError
from canonbench.files import is_dir, is_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PICKLE = "adapter_model.bin"
EDIT_FILE = "canonbench_edit.json"
DELTA = "delta.safetensors"
SENSES = "senses.safetensors"
PICKLES = "pytorch_model*.bin"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")


def is_adapter(files: Collection[str]) -> bool:
    """Whether these are the files of a PEFT adapter rather than of a whole model."""
    return ADAPTER_CONFIG in files


def has_safetensors(files: Collection[str]) -> bool:
    """Whether the weights are there as safetensors, whole or in shards; what an edit run kept has no other kind."""
    if EDIT_FILE in files and not is_adapter(files):
        return True
    return bool({ADAPTER_WEIGHTS} & set(files) if is_adapter(files) else {WEIGHTS, INDEX} & set(files))


def require_weights(files: Collection[str], where: str, *, allow_pickle: bool) -> None:
    """CanonbenchError unless ``files``, the names in the model folder ``where``, include weights that may be read."""
    if has_safetensors(files):
        return
    pickles = sorted(fnmatch.filter(files, ADAPTER_PICKLE if is_adapter(files) else PICKLES))
    if pickles and not allow_pickle:
        raise CanonbenchError(
            f"{where} holds only pickle weights ({pickles[0]}); convert them with save_pretrained, "
            "or pass --allow-pickle to read them with weights_only=True"
        )
    if not pickles:
        wanted = ADAPTER_WEIGHTS if is_adapter(files) else f"{WEIGHTS} or {INDEX}"
        raise CanonbenchError(f"{where} holds no weights: there is no {wanted}; is the copy incomplete?")


def require_shards(folder: Path) -> None:
    """CanonbenchError if the index of a sharded checkpoint names a file that is not there."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise CanonbenchError(f"{index} is not the index of a sharded checkpoint: it has no 'weight_map'")
    missing = sorted({str(name) for name in shards.values() if not (folder / str(name)).is_file()})
    if missing:
        raise CanonbenchError(
            f"{folder} is incomplete: its index names {missing[0]}, which is not there ({len(missing)} missing in all)"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object as another program wrote it; CanonbenchError naming file, line and column if it is not one."""
    return records.read_json(path, foreign=True)


def find_base(folder: Path, name: str, revision: str | None) -> str:
    """The base that an adapter or edit in ``folder`` names, as ``--model`` takes it; a relative path is looked up from
    the working folder, then from ``folder``."""
    for place in (Path(name), folder / name):
        if is_dir(place) or is_file(place):
            return str(place)
    return f"{name}@{revision}" if revision else name


def names(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return [path.name for path in folder.iterdir()]


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer was saved in a folder."""
    return any((folder / name).is_file() for name in TOKENIZERS)
