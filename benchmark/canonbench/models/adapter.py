"""PEFT adapters: loaded onto their base, with nothing silently ignored."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models.checkpoint import Trust, quiet_transformers

WEIGHTS = "adapter_model.safetensors"


def adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration; CanonbenchError if the file is malformed."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CanonbenchError(f"{path}: not a readable adapter configuration: {error}") from error
    if not isinstance(config, dict) or "peft_type" not in config:
        raise CanonbenchError(f"{path}: not a PEFT adapter configuration (no 'peft_type')")
    return config


def base_of(folder: Path) -> str:
    """The base model that the adapter names; a relative path is looked up from the adapter's folder too."""
    name = adapter_config(folder).get("base_model_name_or_path")
    if not name:
        raise CanonbenchError(f"{folder} does not name its base model; give it with --base")
    beside = folder / str(name)
    return str(beside) if not Path(name).exists() and beside.exists() else str(name)


def apply_adapter(base: Any, folder: Path, *, trust: Trust) -> Any:
    """``base`` with the adapter on it: merged into the weights where that is exact to float32, wrapped otherwise.

    ``base`` is changed in place.

    Raises:
        CanonbenchError: the adapter's weights are missing, corrupt, a pickle, or do not fit the base.
    """
    import torch  # noqa: PLC0415
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    path = folder / WEIGHTS
    if not path.is_file() and not (trust.pickle and (folder / "adapter_model.bin").is_file()):
        hint = "; it holds a pickle, which --allow-pickle would read" if (folder / "adapter_model.bin").is_file() else ""
        raise CanonbenchError(f"{folder} holds no {WEIGHTS}{hint}")
    try:
        names = None
        if path.is_file():
            with safe_open(path, framework="pt") as file:
                names = set(file.keys())
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the names are compared below, and an error says more than a warning
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=False)
    except SafetensorError as error:
        raise CanonbenchError(f"{path} is corrupt or truncated ({error}); copy it again") from error
    except Exception as error:  # peft raises every kind here; the cause is kept for --debug
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CanonbenchError(f"the adapter {folder} does not fit its base model: {reason}") from error
    expected = set(get_peft_model_state_dict(model))
    if names is not None and names != expected:
        odd = sorted(names ^ expected)
        raise CanonbenchError(f"the adapter {folder} does not fit its base model: {len(odd)} weights differ by name, {odd[0]!r} first")
    mergeable = hasattr(model.base_model, "merge_and_unload") and not model.peft_config["default"].is_prompt_learning
    if mergeable and base.dtype in (torch.float32, torch.float64):
        model = model.merge_and_unload()
    return model.eval()
