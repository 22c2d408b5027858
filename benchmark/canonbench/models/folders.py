"""Check a model folder from its file names and JSON, before anything large is read or fetched."""

from __future__ import annotations

import codecs
import fnmatch
import re
import shlex
from collections.abc import Collection, Iterable
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
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
PICKLES = "pytorch_model*.bin"
GENERATION = "generation_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
TOKENIZER_TEXTS = (
    "tokenizer_config.json", "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip
"""The text files of a tokenizer."""


def is_adapter(files: Collection[str]) -> bool:
    """Whether these file names are a PEFT adapter's rather than a whole model's."""
    return ADAPTER_CONFIG in files


def models_inside(paths: Iterable[str]) -> list[str]:
    """Folders among the relative file ``paths`` that hold a model or adapter, the highest-numbered one last."""
    found = {path.rpartition("/")[0] for path in paths if path.endswith((f"/{CONFIG}", f"/{ADAPTER_CONFIG}"))}
    return sorted(found, key=lambda path: [(len(part), part) for part in re.split(r"(\d+)", path)])


def look_inside(folder: Path) -> str:
    """Text to append to a "no model" message: which subfolder of ``folder`` holds one; empty if none does."""
    inside = models_inside(path.relative_to(folder).as_posix() for path in folder.glob("*/*.json"))
    if not inside:
        return ""
    rest = f"; {len(inside) - 1} more of its folders hold one too" if len(inside) > 1 else ""
    return f"; give the model or adapter in its folder instead: {folder / inside[-1]}{rest}"


def has_safetensors(files: Collection[str]) -> bool:
    """Whether the weights are safetensors, in one file or in shards; edit artefacts always are."""
    if EDIT_FILE in files and not is_adapter(files):
        return True
    return bool({ADAPTER_WEIGHTS} & set(files) if is_adapter(files) else {WEIGHTS, INDEX} & set(files))


def require_weights(files: Collection[str], where: str, *, allow_pickle: bool, instead: str = "") -> None:
    """CanonbenchError unless ``files``, the file names of model folder ``where``, include weights that may be read.

    ``instead`` is appended to the message and says where there are weights.
    """
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
        instead = instead or "; is the copy incomplete?"
        raise CanonbenchError(f"{where} holds no weights: there is no {wanted}{instead}")


def require_utf8(path: Path) -> None:
    """CanonbenchError if a text file starts with a byte order mark, which libraries read as part of the text."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CanonbenchError(f"{path} cannot be read: {error}") from error
    quoted = shlex.quote(str(path))
    if start.startswith(codecs.BOM_UTF8):
        raise CanonbenchError(
            f"{path} begins with a byte order mark (it was saved as 'UTF-8 with BOM'); take it away with: "
            f"sed -i '1s/^\\xEF\\xBB\\xBF//' {quoted}"
        )
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CanonbenchError(
            f"{path} cannot be read: it is UTF-16, not UTF-8; convert it with: "
            f"iconv -f UTF-16 -t UTF-8 {quoted} > utf8 && mv utf8 {quoted}"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that another program wrote; if invalid, CanonbenchError with file, line and column."""
    require_utf8(path)
    return records.read_json(path, foreign=True)


def find_base(folder: Path, name: str, revision: str | None) -> str:
    """The base model named by an adapter or edit in ``folder``, in the form that ``--model`` takes.

    A relative path is looked up from the working folder, then from ``folder``.
    """
    for place in (Path(name), folder / name):
        if is_dir(place) or is_file(place):
            return str(place)
    return f"{name}@{revision}" if revision else name


def names(folder: Path) -> list[str]:
    """The file names in a folder."""
    return [path.name for path in folder.iterdir()]


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZERS)
