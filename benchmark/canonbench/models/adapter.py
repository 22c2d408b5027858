"""PEFT adapters: put onto their base, with nothing silently ignored."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open

from canonbench.errors import CanonbenchError
from canonbench.models import files
from canonbench.models.checkpoint import Trust
from canonbench.models.trouble import one_line

Merging = Literal["changes", "changes nothing", "impossible"]


def base_of(folder: Path) -> str:
    """The base model that an adapter names; a relative path is looked up from the adapter's folder too.

    Raises:
        CanonbenchError: the adapter's configuration is malformed, or names no base.
    """
    config = files.read_json(folder / files.ADAPTER_CONFIG)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not name:
        raise CanonbenchError(f"{folder} does not name its base model; give it with --base")
    return files.find_base(folder, str(name), revision)


def apply_adapter(base: Any, folder: Path, *, trust: Trust) -> Any:
    """``base`` with the adapter on it: merged into the weights where that is possible and loses nothing, else wrapped.

    Merging rounds the sum to the weights' dtype, which in bfloat16 or float16 would lose part of the edit. ``base`` is
    changed in place.

    Raises:
        CanonbenchError: the adapter's weights are missing, corrupt or a pickle, do not fit the base, or change nothing.
    """
    _check_config(folder)
    files.require_weights(files.names(folder), str(folder), allow_pickle=trust.pickle)
    with one_line(f"the adapter {folder}"):
        model = _wrap(base, folder)
        merging = try_merging(model)
        if merging == "changes nothing":
            raise CanonbenchError(f"the adapter {folder} changes nothing: every weight it touches stays as it is")
        if merging == "changes" and merges_exactly(base):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tied embeddings may come apart: that is what the adapter does
                model = model.merge_and_unload()
    return model.eval()


def merges_exactly(model: Any) -> bool:
    """Whether the model's dtype has room for the sum of weight and adapter."""
    import torch  # noqa: PLC0415  (slow to import)

    return model.dtype in (torch.float32, torch.float64)


def try_merging(model: Any) -> Merging:
    """What merging the adapter would do to the weights, tried on copies of the layers until one changes."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415  (slow to import)
    from peft.utils import ModulesToSaveWrapper  # noqa: PLC0415  (slow to import)

    modules = list(model.modules())
    layers = [module for module in modules if isinstance(module, BaseTunerLayer)]
    config = model.active_peft_config
    if config.is_prompt_learning or not layers:
        return "impossible"
    for layer in layers:
        outcome = _try_layer(layer)
        if outcome != "changes nothing":
            return outcome
    brings_weights = getattr(config, "bias", "none") != "none" or any(
        isinstance(module, ModulesToSaveWrapper) for module in modules
    )
    return "changes" if brings_weights else "changes nothing"


def _try_layer(layer: Any) -> Merging:
    import torch  # noqa: PLC0415  (slow to import)

    trial = copy.deepcopy(layer).float()  # one layer at a time, so that the model is never held twice
    before = copy.deepcopy(trial.get_base_layer().state_dict())
    try:
        trial.merge()
    except Exception:  # each kind of adapter says in its own way that it cannot be merged
        return "impossible"
    after = trial.get_base_layer().state_dict()
    same = all(torch.equal(before[name], after[name]) for name in before)
    return "changes nothing" if same else "changes"


def _check_config(folder: Path) -> None:
    """CanonbenchError if PEFT would not know the adapter's kind or would ignore one of its settings."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: PLC0415  (slow to import)

    path = folder / files.ADAPTER_CONFIG
    config = files.read_json(path)
    known = {str(kind.value): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    kind = config.get("peft_type")
    if kind not in known:
        raise CanonbenchError(f"{path}: this version of peft knows no adapters of 'peft_type' {kind!r}")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise CanonbenchError(f"{path}: an adapter for {config['task_type']}, not for causal language models")
    ignored = sorted(key for key, value in config.items() if value and key not in known[kind].__dataclass_fields__)
    if ignored:
        raise CanonbenchError(
            f"{path}: this version of peft does not know {ignored[0]!r} and would ignore it; upgrade peft"
        )


def _wrap(base: Any, folder: Path) -> Any:
    """A PeftModel whose adapter weights are, by name, exactly those in the file."""
    from peft import PeftModel  # noqa: PLC0415  (slow to import)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the names are compared below, and an error says more than a warning
        model = PeftModel.from_pretrained(base, str(folder), torch_device=str(base.device))
        require_all_loaded(model, folder)
    return model.to(base.device)


def require_all_loaded(model: Any, folder: Path, adapter: str = "default") -> None:
    """CanonbenchError unless an adapter's weights on ``model`` are, by name, exactly those in the folder's file."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415  (slow to import)

    # Never "auto": that asks the hub for the base's configuration.
    wanted = set(get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False))
    found = _stored_names(folder)
    odd = sorted((wanted - found) | (found - wanted - set(model.state_dict())))
    if odd:
        raise CanonbenchError(
            f"the adapter {folder} does not fit its base model: {len(odd)} weights are "
            f"in only one of the two, {odd[0]!r} first"
        )


def _stored_names(folder: Path) -> set[str]:
    """The names of the weights in the adapter's file."""
    import torch  # noqa: PLC0415  (slow to import)

    path = folder / files.ADAPTER_WEIGHTS
    if not path.is_file():
        return set(torch.load(folder / files.ADAPTER_PICKLE, map_location="meta", weights_only=True))
    with safe_open(path, framework="pt") as file:
        return set(file.keys())
