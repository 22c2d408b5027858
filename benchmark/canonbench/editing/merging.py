"""Merge edits of one base: changed tensors (one at a time), senses of a Backpack, or LoRA adapters (with peft)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from peft import PeftModel, PeftType
from peft.tuners.lora import LoraLayer
from peft.utils import merge_utils
from safetensors import safe_open
from torch import Tensor

from canonbench.errors import CanonbenchError
from canonbench.models import first_lines, one_line, require_all_loaded, stored_values
from canonbench.models import folders as files

Average = Literal["mean", "ties", "dare"]


class Merging(NamedTuple):
    """The way to merge changes. All of them average: N copies of one edit, with nothing dropped, give that edit."""

    how: Average = "mean"
    """``ties`` keeps each edit's largest changes, elects a sign and averages the changes with that sign (Yadav et al.
    2023); ``dare`` keeps random changes, rescaled to the same expectation, and averages (Yu et al. 2024)."""
    density: float = 1.0
    """Share of each edit's changes that ``ties`` and ``dare`` keep, within (0, 1]."""


def merged_value(base: Tensor, edited: Sequence[Tensor], merging: Merging) -> Tensor:
    """Return the merged value of one tensor, in the base's dtype; sums are taken in float64.

    ``dare`` draws from torch's global random state.

    Args:
        base: the tensor before the edits.
        edited: the tensor after each edit; the base's own value if an edit did not change it.
        merging: the way to merge.
    """
    if merging.how == "mean":
        total = torch.zeros_like(base, dtype=torch.float64)
        for each in edited:  # one at a time: embeddings are large, and float64 doubles them
            total += each
        return (total / len(edited)).to(base.dtype)
    start = base.double()
    changes = [each.double() - start for each in edited]
    combine = merge_utils.ties if merging.how == "ties" else merge_utils.dare_linear
    weight = 1.0 if merging.how == "ties" else 1 / len(changes)  # ties already averages the changes that it keeps
    with dropping_nothing_is_fine():
        change: Tensor = combine(changes, torch.full((len(changes),), weight, dtype=start.dtype), merging.density)
    return (start + change).to(base.dtype)


@contextmanager
def dropping_nothing_is_fine() -> Iterator[None]:
    """Silence peft's warning that a density of 1 drops nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The density")
        yield


class StoredDelta(NamedTuple):
    """The stored new values of an edit's tensors."""

    changed: Mapping[str, str]
    """The hash of each changed tensor by name, as in ``canonbench_edit.json``."""
    path: Path


@torch.no_grad()
def merge_deltas(model: Any, deltas: Sequence[StoredDelta], merging: Merging) -> None:
    """Turn the base ``model`` into the merged one, in place.

    An edit that did not change a tensor counts with the base's value, since whole state dicts are averaged.

    Args:
        model: the base of all edits.
        deltas: the edits, in an order independent of the caller's, since random merging depends on it.
        merging: the way to merge.

    Raises:
        CanonbenchError: a file is missing or corrupt.
    """
    state = model.state_dict()
    streams = [stored_values(state, delta.changed, delta.path) for delta in deltas]
    for name, found in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        values = [value.to(state[name].device) for _, value in found]
        values += [state[name]] * (len(deltas) - len(values))
        state[name].copy_(merged_value(state[name], values, merging))


class Senses(NamedTuple):
    """The vectors added to N senses."""

    token_ids: Tensor
    """(N,)."""
    sense_ids: Tensor
    """(N,); no two senses are the same."""
    deltas: Tensor
    """(N, D)."""


def union(edits: Sequence[Senses]) -> Senses:
    """Return all senses that any edit changed, in ascending order of token and sense.

    A sense changed by several edits gets the mean of their deltas (taken in float64); a sense changed by one edit
    keeps its delta exactly.
    """
    chosen = torch.cat([torch.stack([each.token_ids, each.sense_ids], -1) for each in edits])
    deltas = torch.cat([each.deltas for each in edits])
    # torch has no types for it
    senses, place, counts = chosen.unique(dim=0, return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    sums = deltas.new_zeros(len(senses), deltas.shape[-1], dtype=torch.float64)
    sums.index_add_(0, place, deltas.double())
    return Senses(senses[:, 0], senses[:, 1], (sums / counts[:, None]).to(deltas.dtype))


MERGED = "merged"
FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


def merge_adapters(base: Any, folders: Sequence[Path], merging: Merging, rank: int | None) -> Any:
    """Merge LoRA adapters into a PeftModel with one adapter; each weight combines the adapters that change it.

    ``mean`` is exact at a rank that is the sum of the ranks. Everything else is computed on the products of the
    factors and reduced to ``rank`` by a singular value decomposition (peft's ``svd``, ``ties_svd``,
    ``dare_linear_svd``). ``dare`` draws from torch's global random state.

    Args:
        base: the base model; its modules are replaced in place.
        folders: adapter folders in PEFT's format; ranks and adapted layers may differ.
        merging: the way to merge.
        rank: LoRA rank of the result; None for the sum of the ranks, at most the rank of the smallest matrix.

    Raises:
        CanonbenchError: an adapter is damaged, or peft cannot combine it with the others.
    """
    model, names = _load(base, folders)
    how = merging.how
    exact = how == "mean" and rank is None
    kind = "cat" if exact else {"mean": "svd", "ties": "ties_svd", "dare": "dare_linear_svd"}[how]
    options: dict[str, Any] = {} if how == "mean" else {"density": merging.density}
    try:
        with dropping_nothing_is_fine():
            model.base_model.add_weighted_adapter(
                names, [1.0] * len(names), MERGED, combination_type=kind, svd_full_matrices=False,
                svd_rank=None if exact else _rank(model, names, rank), **options,
            )  # fmt: skip
    except Exception as error:  # peft raises many kinds of exceptions for adapters that it cannot combine
        raise CanonbenchError(f"peft cannot combine these adapters: {first_lines(error)}") from error
    for layer in _layers(model):
        _average(layer, names, divide=how != "ties")
    model.set_adapter(MERGED)
    for name in names:
        model.delete_adapter(name)
    return model.eval()


def _load(base: Any, folders: Sequence[Path]) -> tuple[Any, list[str]]:
    """Load all adapters onto the base; return the PeftModel and the adapters' names in it."""
    model, names = None, []
    for number, folder in enumerate(folders):
        _require_factors(folder)
        name = f"edit-{number}"
        with one_line(f"the adapter {folder}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the names are checked below, with an error instead of a warning
            if model is None:
                model = PeftModel.from_pretrained(base, str(folder), adapter_name=name, torch_device=str(base.device))
            else:
                model.load_adapter(str(folder), adapter_name=name, torch_device=str(base.device))
            require_all_loaded(model, folder, name)
        names.append(name)
    return model, names


def _require_factors(folder: Path) -> None:
    """Raise CanonbenchError unless the adapter holds only two factors per matrix, all that peft can average."""
    kind = files.read_json(folder / files.ADAPTER_CONFIG).get("peft_type")
    if kind != PeftType.LORA.value:
        raise CanonbenchError(f"{folder}: peft combines LoRA adapters only, and this one is {kind}")
    path = folder / files.ADAPTER_WEIGHTS
    with one_line(f"the adapter {folder}"), safe_open(path, framework="pt") as file:
        odd = sorted(name for name in file.keys() if name.removesuffix(".weight").rpartition(".")[2] not in FACTORS)  # noqa: SIM118
    if odd:
        raise CanonbenchError(f"{folder}: peft combines only the factors of a LoRA, and this one also has {odd[0]!r}")


def _layers(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, LoraLayer))


def _rank(model: Any, names: Sequence[str], wanted: int | None) -> int:
    """Return the rank of the merged adapter; a decomposition cannot have a higher rank than its matrix."""
    most = min(int(size) for layer in _layers(model) for size in (layer.in_features, layer.out_features))
    configs = [model.peft_config[name] for name in names]
    ranks = [max(config.r, *(config.rank_pattern or {}).values(), 0) for config in configs]
    return min(most, sum(ranks) if wanted is None else wanted)


@torch.no_grad()
def _average(layer: Any, names: Sequence[str], *, divide: bool) -> None:
    """Turn the sum over the adapters of this layer into their mean.

    Raises:
        CanonbenchError: peft skipped the layer or applies its own scale, as with rank-stabilised LoRA.
    """
    touching = sum(name in layer.lora_A or name in layer.lora_embedding_A for name in names)
    if layer.scaling.get(MERGED) != 1:
        raise CanonbenchError("peft cannot combine these adapters: their layers are chosen or scaled in different ways")
    if divide:
        factors = layer.lora_B if MERGED in layer.lora_B else layer.lora_embedding_B
        factor = factors[MERGED]
        getattr(factor, "weight", factor).div_(touching)
