"""Find and read the weights of a checkpoint, and undo names that a wrapper gave them.

The file of each weight is the one that the index names; leftover copies elsewhere must agree with it. Wrappers that
change names are torch.compile, DistributedDataParallel, FSDP and PEFT.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open

from canonbench.errors import CanonbenchError
from canonbench.models import folders as files
from canonbench.models.load_errors import one_line


def weight_places(folder: Path, *, allow_pickle: bool) -> dict[str, Path]:
    """The file of each weight in a model folder, by the weight's name.

    A folder may hold copies of a weight left over from an earlier save: a whole file beside an index, or a second copy
    in a shard. Equal copies are accepted.

    Args:
        folder: a model folder.
        allow_pickle: read pickles, with ``weights_only=True``, if there are no safetensors.

    Raises:
        CanonbenchError: the index names a file that is missing or does not hold the weight, or two files hold
            different values of one weight; the message names both.
    """
    found = files.names(folder)
    whole, index = folder / files.WEIGHTS, folder / files.INDEX
    if allow_pickle and not files.has_safetensors(found):
        whole, index = folder / files.PICKLE, folder / files.PICKLE_INDEX
    if not index.is_file():
        paths = [whole] if whole.is_file() else [folder / name for name in fnmatch.filter(found, files.PICKLES)]
        return {name: path for path in paths for name in stored_names(path)}
    places = _indexed(folder, index)
    held = {path: stored_names(path) for path in sorted(set(places.values()))}
    for name, path in sorted(places.items()):
        if name not in held[path]:
            holder = next((each.name for each, names in held.items() if name in names), "no shard")
            raise CanonbenchError(
                f"{index} places {name!r} in {path.name}, which does not hold it ({holder} does); copy it "
                "again, or save it again with save_pretrained"
            )
    if whole.is_file() and whole not in held:  # transformers would read it instead of the shards
        _require_same_model(whole, index, places)
    read = _Reading()
    for path, names in held.items():
        for name in sorted(names):
            place = places.setdefault(name, path)
            if place != path and not _equal(read(path, name), read(place, name)):
                raise CanonbenchError(
                    f"{folder}: {name!r} is in {place.name} and, with other values, in {path.name}; one of them is "
                    "left over from an earlier save: save the model again with save_pretrained into an empty folder"
                )
    return places


def _require_same_model(whole: Path, index: Path, places: Mapping[str, Path]) -> None:
    """CanonbenchError unless a whole file holds the same weights as the shards of an index."""
    names, read = stored_names(whole), _Reading()
    why = None
    if odd := sorted(names ^ places.keys()):
        owner, other = (whole, index) if odd[0] in names else (index, whole)
        why = f"{odd[0]!r} is in {owner.name} but not in {other.name}"
    elif name := next(
        (each for each in sorted(names) if not _equal(read(whole, each), read(places[each], each))), None
    ):
        why = f"{name!r} differs between {whole.name} and {places[name].name}"
    if why is not None:
        raise CanonbenchError(
            f"{whole.parent} holds two models: a whole {whole.name} and the shards of {index.name} ({why}); "
            f"delete {whole.name} or {index.name}, whichever is left over from an earlier save"
        )


def read_weights(places: Mapping[str, Path]) -> dict[str, Any]:
    """The weights of a checkpoint by name, on the CPU; safetensors are memory-mapped and read on first use."""
    read = _Reading()
    return {name: read(path, name) for name, path in places.items()}


def _indexed(folder: Path, index: Path) -> dict[str, Path]:
    """The index as a map from weight name to shard path; CanonbenchError if a shard is missing."""
    shards = files.read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise CanonbenchError(f"{index} is not the index of a sharded checkpoint: it has no 'weight_map'")
    missing = sorted({name for name in shards.values() if not (folder / name).is_file()})
    if missing:
        also = f"; if {files.WEIGHTS} is the whole model, delete {index.name}" if _has_whole(folder, index) else ""
        raise CanonbenchError(
            f"{folder} is incomplete: its index names {missing[0]}, which is not there "
            f"({len(missing)} missing in all){also}"
        )
    return {name: folder / shard for name, shard in shards.items()}


def _has_whole(folder: Path, index: Path) -> bool:
    return index.name == files.INDEX and (folder / files.WEIGHTS).is_file()


def stored_names(path: Path) -> set[str]:
    """The names of the weights in a file, read from its header."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    return set(_unpickled(path, map_location="meta"))


class _Reading:
    """Reads weights from several files and opens each file once."""

    def __init__(self) -> None:
        self._open: dict[Path, Callable[[str], Any]] = {}

    def __call__(self, path: Path, name: str) -> Any:
        """The weight ``name`` in the file ``path``."""
        if path not in self._open:
            is_pickle = path.suffix != ".safetensors"
            content: Any = _unpickled(path, map_location="cpu") if is_pickle else safe_open(path, framework="pt")
            self._open[path] = content.__getitem__ if is_pickle else content.get_tensor
        return self._open[path](name)


def _unpickled(path: Path, **how: Any) -> dict[str, Any]:

    with one_line(f"model file {path}"):
        content = torch.load(path, weights_only=True, **how)
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path} does not hold tensors by their names")
    return content


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors are bitwise equal (NaN included)."""

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))


INNER = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
"""Name components that wrappers insert anywhere, and the wrapper of each."""
OUTER = {"module.": "DistributedDataParallel", "base_model.model.": "PEFT"}
"""Name prefixes that wrappers add to every name, and the wrapper of each."""
PEFT_PREFIX = "base_model.model."
LEFT_IN = re.compile(r"(\.(?:lora|ia3|oft|boft|hada|lokr|vera)_[A-Za-z0-9_]+)\.(?!weight$|bias$)\w+")
"""An adapter's own name inside a weight name, as in ``lora_A.default.weight``; group 1 is what comes before it."""
UNMERGED = (".base_layer.", ".lora_", ".original_module.", ".modules_to_save.", ".token_adapter.")
"""Name components that show that an adapter was not merged before saving."""


class Unwrapped(NamedTuple):
    """Weight names of a checkpoint without the parts that wrappers added."""

    names: dict[str, str]
    """Unwrapped names by the names in the checkpoint."""
    whose: str
    """The wrappers, for messages, as ``torch.compile ('_orig_mod.')``."""


def unwrapped(names: Collection[str]) -> Unwrapped | None:
    """Remove wrappers' parts from weight names; None if there are none, or if two names would become equal."""
    plain = {name: _without_inner(name) for name in names}
    found = {f"{part}.": who for part, who in INNER.items() if any(part in name.split(".") for name in names)}
    while outer := next((each for each in OUTER if plain and _all_begin(plain.values(), each)), None):
        found[outer] = OUTER[outer]
        plain = {name: own.removeprefix(outer) for name, own in plain.items()}
    if not found or len(set(plain.values())) < len(plain):
        return None
    return Unwrapped(plain, ", ".join(f"{who} ({part!r})" for part, who in found.items()))


def _all_begin(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _without_inner(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in INNER)


def explained(path: Path, missing: Collection[str], unexpected: Collection[str]) -> str | None:
    """Explain why some of a checkpoint's weights are missing and others unused; None if the cause is unknown.

    Args:
        path: the checkpoint.
        missing: names in the model only.
        unexpected: names in the checkpoint only.
    """
    if any(each in f".{name}" for name in unexpected for each in UNMERGED):
        return (
            f"{path} was saved with a PEFT adapter still on the model (it holds {min(unexpected)!r}): save it again "
            "after model = model.merge_and_unload(), or save the PeftModel itself, which keeps the adapter alone"
        )
    for name in missing:
        prefix = next((each.removesuffix(name) for each in unexpected if each.endswith(f".{name}")), "")
        if prefix and {each.removeprefix(prefix) for each in unexpected} >= set(missing):
            return (
                f"{path}: the names of its weights have {prefix!r} in front, which the model's have not; take it away "
                f"with: {_renaming(path, prefix)}"
            )
    return None


def _renaming(path: Path, prefix: str) -> str:
    """A shell command that removes a prefix from the weight names of a folder's safetensors."""
    index = f"; pathlib.Path(r'{path}', '{files.INDEX}').unlink(missing_ok=True)"
    return (
        'python -c "import pathlib, safetensors.torch as s; '
        f"t = {{k.removeprefix('{prefix}'): v.clone() for p in pathlib.Path(r'{path}').glob('model*.safetensors') "
        "for k, v in s.load_file(p).items()}; "
        f"s.save_file(t, r'{path}/{files.WEIGHTS}', {{'format': 'pt'}}){index}\""
    )


def adapter_names(found: Collection[str]) -> dict[str, str]:
    """The names that PEFT would write, by the names in an adapter's file.

    Corrected are wrapper parts, a ``base_model.model.`` prefix that is missing everywhere or repeated, and an adapter
    name that was left in (``lora_A.default.weight``). Other names stay unchanged.

    Args:
        found: the names in the file; not for prompt-learning adapters, whose names have no prefix in PEFT.
    """
    lacking = not any(name.startswith("base_model.") for name in map(_without_inner, found))
    return {name: _as_peft_writes(name, lacking=lacking) for name in found}


def _as_peft_writes(name: str, *, lacking: bool) -> str:
    core = without_prefixes(name)
    is_prefixed = core != _without_inner(name).removeprefix("module.") or lacking
    return (PEFT_PREFIX if is_prefixed else "") + LEFT_IN.sub(r"\1", core)


def without_prefixes(name: str) -> str:
    """A weight's name without the parts that wrappers, PEFT included, added."""
    core = _without_inner(name)
    while outer := next((each for each in OUTER if core.startswith(each)), None):
        core = core.removeprefix(outer)
    return core


def what_happened(name: str, own: str) -> str:
    """A phrase for messages: how ``name`` in an adapter's file came to differ from ``own``, the name PEFT gives."""
    if found := [who for part, who in INNER.items() if part in name.split(".")]:
        return f"saved out of {found[0]}"
    if name.startswith("module."):
        return f"saved out of {OUTER['module.']}"
    count = name.count(PEFT_PREFIX)
    if count != 1 and own.startswith(PEFT_PREFIX):
        return f"the prefix {PEFT_PREFIX!r} is " + ("missing" if not count else f"there {count} times")
    return "the name of the adapter was left in"


def require_one_name(names: Collection[str], prefix: str, own: Collection[str], path: Path) -> None:
    """CanonbenchError if a checkpoint holds a weight twice: with and without the base model's prefix.

    Args:
        names: weight names in the checkpoint.
        prefix: the base model's prefix, such as ``transformer`` or ``model``.
        own: weight names in the model.
        path: the checkpoint.
    """
    for name in sorted(names):
        longer = f"{prefix}.{name}"
        if prefix and longer in names and (name not in own or longer not in own):
            raise CanonbenchError(
                f"{path} holds one weight by two names, {name!r} and {longer!r}; delete the one that is left over"
            )
