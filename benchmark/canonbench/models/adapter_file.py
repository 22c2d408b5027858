"""An adapter in training as the files of PEFT that ``apply_adapter`` reads."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from canonbench.models import files
from canonbench.models.adapter import try_merging
from canonbench.models.edit_file import EditedBase, NotKept
from canonbench.models.fingerprint import Fingerprint, fingerprint


def write_adapter(model: Any, part: Path, base: EditedBase, base_fingerprint: Fingerprint) -> None:
    """PEFT's own files of the one active adapter."""
    if try_merging(model) == "changes nothing":
        raise NotKept("the unedited model: the adapter changes nothing")
    if len(model.active_adapters) != 1:
        raise NotKept(f"{len(model.active_adapters)} adapters are active; a method must return one, or merge them")
    name = model.active_adapters[0]
    require_untouched(_below_adapter(model, name), base_fingerprint, "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's doubts about embeddings: those that it tunes are saved
        # never "auto": that asks the hub for the base's configuration
        model.save_pretrained(str(part), selected_adapters=[name], save_embedding_layers=False)
    if name != "default":
        for file in (part / name).iterdir():
            file.rename(part / file.name)
        (part / name).rmdir()
    (part / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
    path = part / files.ADAPTER_CONFIG
    config = files.read_json(path) | {"base_model_name_or_path": base.name, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _below_adapter(model: Any, adapter: str) -> Fingerprint:
    """Fingerprint of the weights below an adapter, by the names they have without it; of those it keeps itself, none.

    Where the adapter trains a base layer's bias, for one, that bias is in the adapter's file.
    """
    from peft import get_peft_model_state_dict  # noqa: PLC0415  (slow to import)

    kept = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    kept = {name.removeprefix("base_model.model.") for name in kept}
    found = fingerprint(model.get_base_model())
    plain = {}
    for name, digest in found.tensors.items():
        if name not in kept:
            short = name
            for wrapping in (".token_adapter", ".base_layer", ".original_module"):
                short = short.replace(wrapping, "")
            plain[short] = digest
    return Fingerprint(found.weights, found.config, plain, {})


def require_untouched(found: Fingerprint, base: Fingerprint, what: str) -> None:
    """NotKept if weights of the base that an artefact will not hold are not the base's."""
    odd = sorted(name for name, digest in found.tensors.items() if base.tensors.get(name, digest) != digest)
    if odd:
        raise NotKept(
            f"the {what} is not all that was changed: {len(odd)} weights of the model below it are not the base's, "
            f"{odd[0]!r} first, and would be lost; let the method return the merged, plain model"
        )
