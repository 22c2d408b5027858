"""Which file of a checkpoint holds which weight: what the index says, and nothing else."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from canonbench.errors import CanonbenchError
from canonbench.models import files
from canonbench.models.trouble import one_line


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
    import torch  # noqa: PLC0415  (slow to import)

    with one_line(f"model file {path}"):
        content = torch.load(path, weights_only=True, **how)
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path} does not hold tensors by their names")
    return content


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors are the same, bit for bit (NaN included)."""
    import torch  # noqa: PLC0415  (slow to import)

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))
