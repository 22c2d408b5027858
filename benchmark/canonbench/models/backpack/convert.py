"""Convert a Backpack's published files (a pickle, remote code, no tokenizer) to a self-contained safetensors folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from canonbench.errors import CanonbenchError, UsageError
from canonbench.files import appearing
from canonbench.model_names import HUB_ID
from canonbench.models import folders as files
from canonbench.models import hub
from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.backpack.senses import BackpackConfig
from canonbench.models.checkpoint import Trust, load_tokenizer
from canonbench.models.load_errors import one_line, quiet_transformers
from canonbench.models.source import parse_source
from canonbench.models.weight_files import read_weights, weight_places
from canonbench.network import is_offline, require_network, to_stderr

PUBLISHED_PARAMETERS = 170_083_584
"""The number of parameters of stanfordnlp/backpack-gpt2."""
TIED = {
    "backpack.gpt2_model.wte.weight": ("backpack.word_embeddings.weight", "lm_head.weight"),
    "backpack.gpt2_model.wpe.weight": ("backpack.position_embeddings.weight",),
}
"""Tensors by our names, with the other names under which the published files repeat them."""
MASK = re.compile(r"backpack\.gpt2_model\.h\.\d+\.attn\.(bias|masked_bias)")
"""Names of causal masks, which older versions of transformers stored."""
NOT_OF_THE_FUNCTION = frozenset(
    {"_name_or_path", "architectures", "auto_map", "dtype", "model_type", "torch_dtype", "transformers_version"}
)
"""Entries of config.json that do not affect what the model computes."""
MOST_PADDING = 128
"""Vocabulary rows without a token must be fewer than this; the published model has 7."""


def convert_backpack(
    source: str | Path, target: str | Path, *, tokenizer: str | None = None, say: Callable[[str], None] = to_stderr
) -> int:
    """Convert the Backpack in ``source`` to the folder ``target``: configuration, safetensors and tokenizer.

    The source's code is never run, and its pickle is read with ``weights_only=True``. A missing or unknown tensor is
    an error.

    Args:
        source: a folder, or a hub id (``stanfordnlp/backpack-gpt2``), which is fetched.
        target: a new or empty folder; it appears complete or not at all.
        tokenizer: a folder or hub id (``openai-community/gpt2``); None if ``source`` holds the tokenizer.
        say: receives notes.

    Returns:
        The number of parameters, with tied ones counted once.

    Raises:
        UsageError: ``target`` is not empty, or the source or tokenizer does not exist.
        CanonbenchError: the files are damaged or not a Backpack's, or something cannot be read or written.
    """
    folder = Path(target)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; give a new or empty folder")
    published = _locate(source, say)
    config = _config(published, say)
    spoken = _tokenizer(published, tokenizer, config.vocab_size, say)
    model = _model(config, _read(published), published)
    with appearing(folder) as part, quiet_transformers():
        model.save_pretrained(part)
        spoken.save_pretrained(part)
    return sum(parameter.numel() for parameter in model.parameters())


def _locate(name: str | Path, say: Callable[[str], None]) -> Path:
    source = parse_source(name)
    if source.kind == "hub":
        return hub.fetch(source.name, source.revision, trust=Trust(pickle=True), say=say)
    if source.kind != "folder" or source.path is None:
        raise UsageError(f"{name} is neither a folder with a Backpack's published files nor a hub id")
    return source.path


def _config(folder: Path, say: Callable[[str], None]) -> BackpackConfig:
    """Read the configuration, without entries that refer to remote code."""
    path = folder / files.CONFIG
    found = files.read_json(path)
    kind = found.get("model_type")
    if kind == "backpack":
        raise CanonbenchError(f"{folder} is converted already; it opens as it is")
    if kind != "gpt2":
        raise CanonbenchError(f"{path} is that of a {kind}; a published Backpack calls itself gpt2")
    known = {field.name for field in dataclasses.fields(BackpackConfig)}
    entries = {name: value for name, value in found.items() if name not in NOT_OF_THE_FUNCTION}
    if unknown := sorted(entries.keys() - known):
        say(f"{path}: left out what transformers does not know: {', '.join(unknown)}")
    with one_line(str(path)):
        return BackpackConfig(**{name: value for name, value in entries.items() if name in known})


def _read(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder, from safetensors if present, else from pickles."""
    files.require_weights(files.names(folder), str(folder), allow_pickle=True)
    with one_line(str(folder)):
        tensors = read_weights(weight_places(folder, allow_pickle=True))
    if odd := sorted(name for name, value in tensors.items() if not isinstance(value, Tensor)):
        raise CanonbenchError(f"{folder} does not hold tensors by their names: {odd[0]!r} is none")
    return tensors


def _model(config: BackpackConfig, found: dict[str, Tensor], folder: Path) -> BackpackForCausalLM:
    """Build the model from the tensors in ``found``, all of which must be used.

    Raises:
        CanonbenchError: a tensor is missing, unexpected or of the wrong shape, or tied tensors differ.
    """
    tensors = _tied_once({name: tensor for name, tensor in found.items() if not MASK.fullmatch(name)}, folder)
    with torch.device("meta"):
        model = BackpackForCausalLM(config)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise CanonbenchError(f"{folder} lacks {len(missing)} of a Backpack's weights, {missing[0]!r} first")
    if unexpected := sorted(tensors.keys() - wanted.keys()):
        raise CanonbenchError(f"{folder} has {len(unexpected)} weights that no Backpack has, {unexpected[0]!r} first")
    for name, shape in wanted.items():
        if tensors[name].shape != shape or not tensors[name].is_floating_point():
            raise CanonbenchError(
                f"{folder}: {name!r} is {_form(tensors[name].shape)} of {tensors[name].dtype}; its configuration "
                f"calls for {_form(shape)} of floating point"
            )
    model.load_state_dict(tensors, strict=False, assign=True)  # without lm_head.weight, which is tied
    model.tie_weights()
    return model


def _tied_once(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The tensors without tied copies; CanonbenchError if a copy differs."""
    once = dict(tensors)
    for name, others in TIED.items():
        group = [(each, once.pop(each)) for each in (name, *others) if each in once]
        for other, copy in group[1:]:
            first, value = group[0]
            if copy.dtype != value.dtype or not torch.equal(copy, value):
                raise CanonbenchError(
                    f"{folder}: {first!r} and {other!r} differ, which are one and the same in a Backpack"
                )
        if group:
            once[name] = group[0][1]
    return once


def _form(shape: torch.Size) -> str:
    return "x".join(map(str, shape))


def _tokenizer(folder: Path, given: str | None, vocabulary: int, say: Callable[[str], None]) -> Any:
    """Load the given tokenizer, or else the folder's; its size must fit the model's vocabulary."""
    if given is None and not files.has_tokenizer(folder):
        raise UsageError(f"{folder} has no tokenizer; give GPT-2's with --tokenizer, a folder or openai-community/gpt2")
    path = folder if given is None else _tokenizer_folder(given, say)
    tokenizer = load_tokenizer(path, trust=Trust())
    if not vocabulary - MOST_PADDING < len(tokenizer) <= vocabulary:
        raise CanonbenchError(
            f"the tokenizer of {given or folder} has {len(tokenizer):,} tokens and the model {vocabulary:,}: "
            "it is not the one that the model was trained with"
        )
    return tokenizer


def _tokenizer_folder(name: str, say: Callable[[str], None]) -> Path:
    """The local folder of a tokenizer; for a hub id, only the repository's text files are fetched."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith(("/", ".", "~")) or not HUB_ID.fullmatch(name):
        raise UsageError(f"--tokenizer {name}: there is no such folder, and it is not a hub id")

    identifier, _, revision = name.partition("@")
    wanted: dict[str, Any] = {"revision": revision or None, "allow_patterns": hub.TEXT, "ignore_patterns": ["*/*"]}
    if is_offline():
        with suppress(OSError, ValueError):  # not in the hub's cache
            return Path(snapshot_download(identifier, local_files_only=True, **wanted))
    require_network(f"the tokenizer {name} from the Hugging Face hub", say, instead="give a local folder")
    with one_line(f"the tokenizer {name}"):
        return Path(snapshot_download(identifier, **wanted))
