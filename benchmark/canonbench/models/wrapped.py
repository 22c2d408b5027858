"""Names of weights that were saved out of a wrapper: torch.compile, DistributedDataParallel, FSDP, PEFT."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from canonbench.errors import CanonbenchError
from canonbench.models import files

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
