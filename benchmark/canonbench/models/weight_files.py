"""Which file of a checkpoint holds which weight: what the index says, and nothing else.

Names of weights that were saved out of a wrapper: torch.compile, DistributedDataParallel, FSDP, PEFT.
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
    """The names of all weights of a model folder, each with the file it is to be read from.

    A folder may hold copies of a weight that are left over from an earlier save: a whole file beside an index, or a
    second copy in a shard. Equal copies do no harm.

    Args:
        folder: a model folder.
        allow_pickle: read pickles, with ``weights_only=True``, where there are no safetensors.

    Raises:
        CanonbenchError: the index names a file that is not there or does not hold the weight, or two files hold
            different values of one weight; both are named.
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
    if whole.is_file() and whole not in held:  # which transformers would read instead of what the index names
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
    """CanonbenchError unless a whole file holds what the shards of an index hold."""
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
    """The weights of a checkpoint by name, on the CPU; of safetensors, read when they are used."""
    read = _Reading()
    return {name: read(path, name) for name, path in places.items()}


def _indexed(folder: Path, index: Path) -> dict[str, Path]:
    """What the index says: weight to shard. CanonbenchError if a shard is not there."""
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
    """Reads weights out of several files, each of which it opens once."""

    def __init__(self) -> None:
        self._open: dict[Path, Callable[[str], Any]] = {}

    def __call__(self, path: Path, name: str) -> Any:
        """The weight of that name in a file."""
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
    """Whether two tensors are the same, bit for bit (NaN included)."""

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))


INNER = {
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
}
"""Parts of names that stand for a wrapper wherever they are, and whose they are."""
OUTER = {"module.": "DistributedDataParallel", "base_model.model.": "PEFT"}
"""Beginnings of names that stand for a wrapper where every name has them."""
PEFT_PREFIX = "base_model.model."
LEFT_IN = re.compile(r"(\.(?:lora|ia3|oft|boft|hada|lokr|vera)_[A-Za-z0-9_]+)\.(?!weight$|bias$)\w+")
"""Where the name of an adapter stands while it is on its model."""
UNMERGED = (".base_layer.", ".lora_", ".original_module.", ".modules_to_save.", ".token_adapter.")
"""What the names of a model with an adapter still on it contain."""


class Unwrapped(NamedTuple):
    """The weights of a checkpoint by the names that they had before the model was wrapped."""

    names: dict[str, str]
    """By the names in the checkpoint."""
    whose: str
    """Which wrappers, for people, as ``torch.compile ('_orig_mod.')``."""


def unwrapped(names: Collection[str]) -> Unwrapped | None:
    """The names of a checkpoint's weights without those of wrappers; None if there is nothing to take away.

    Nor is anything taken away where two names would become one: which is meant cannot be told.
    """
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
    """What became of a checkpoint, some of whose weights are missing and others not used; None if that cannot be told.

    Args:
        path: of the checkpoint.
        missing: names that the model has and the checkpoint has not.
        unexpected: names that the checkpoint has and the model has not.
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
    """A command that takes a prefix away from the names in every safetensors file of a folder."""
    index = f"; pathlib.Path(r'{path}', '{files.INDEX}').unlink(missing_ok=True)"
    return (
        'python -c "import pathlib, safetensors.torch as s; '
        f"t = {{k.removeprefix('{prefix}'): v.clone() for p in pathlib.Path(r'{path}').glob('model*.safetensors') "
        "for k, v in s.load_file(p).items()}; "
        f"s.save_file(t, r'{path}/{files.WEIGHTS}', {{'format': 'pt'}}){index}\""
    )


def adapter_names(found: Collection[str]) -> dict[str, str]:
    """The names in an adapter's file as PEFT writes them, by the names there.

    Put right are wrappers, a prefix ``base_model.model.`` that all lack or that is there more than once, and an
    adapter's name that was left in (``lora_A.default.weight``). Any other name stays as it is.

    Args:
        found: the names in the file; not of prompt tuning and its relatives, which PEFT gives no prefix.
    """
    lacking = not any(name.startswith("base_model.") for name in map(_without_inner, found))
    return {name: _as_peft_writes(name, lacking=lacking) for name in found}


def _as_peft_writes(name: str, *, lacking: bool) -> str:
    core = without_prefixes(name)
    is_prefixed = core != _without_inner(name).removeprefix("module.") or lacking
    return (PEFT_PREFIX if is_prefixed else "") + LEFT_IN.sub(r"\1", core)


def without_prefixes(name: str) -> str:
    """A weight's name without wrappers, those of PEFT included."""
    core = _without_inner(name)
    while outer := next((each for each in OUTER if core.startswith(each)), None):
        core = core.removeprefix(outer)
    return core


def what_happened(name: str, own: str) -> str:
    """Why a name in an adapter's file is not ``own``, the one that PEFT gives, for people."""
    if found := [who for part, who in INNER.items() if part in name.split(".")]:
        return f"saved out of {found[0]}"
    if name.startswith("module."):
        return f"saved out of {OUTER['module.']}"
    count = name.count(PEFT_PREFIX)
    if count != 1 and own.startswith(PEFT_PREFIX):
        return f"the prefix {PEFT_PREFIX!r} is " + ("missing" if not count else f"there {count} times")
    return "the name of the adapter was left in"


def require_one_name(names: Collection[str], prefix: str, own: Collection[str], path: Path) -> None:
    """CanonbenchError if a checkpoint holds a weight twice: with and without the prefix of the model's body.

    Args:
        names: in the checkpoint.
        prefix: as ``transformer`` or ``model``.
        own: the names of the model's weights.
        path: of the checkpoint.
    """
    for name in sorted(names):
        longer = f"{prefix}.{name}"
        if prefix and longer in names and (name not in own or longer not in own):
            raise CanonbenchError(
                f"{path} holds one weight by two names, {name!r} and {longer!r}; delete the one that is left over"
            )
