"""Fingerprints: hashes that identify a model by its content instead of its name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from canonbench.errors import CanonbenchError

if TYPE_CHECKING:
    import torch
    from torch import nn


VOLATILE = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "auto_map",
        "base_model_name_or_path",
        "dtype",
        "id2label",
        "inference_mode",
        "label2id",
        "peft_version",
        "quantization_config",
        "revision",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
"""Configuration entries that do not change what the model computes."""


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 hashes of a model's tensors (each one, and all together) and of its configuration."""

    weights: str
    config: str
    tensors: dict[str, str]
    """Hash of each tensor of the state dict, by name."""
    forms: dict[str, str]
    """Dtype and shape of each tensor, by name, as ``torch.float32 (32, 64)``; part of the tensor's hash."""

    @property
    def key(self) -> str:
        """One hash of everything that determines the model's output; the key of cached scores."""
        return hashlib.sha256(f"{self.weights} {self.config}".encode()).hexdigest()


def fingerprint(model: nn.Module) -> Fingerprint:
    """Hash every tensor of the state dict in its current dtype, and all configurations (unmerged adapters' included).

    Raises:
        CanonbenchError: a weight is NaN or infinite; the message names it.
    """
    seen: dict[tuple[Any, ...], str] = {}  # tied tensors are hashed once
    tensors, forms = {}, {}
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device))
        if place not in seen:
            seen[place] = tensor_hash(name, tensor)
        tensors[name] = seen[place]
        forms[name] = form(tensor)
    return Fingerprint(_json_hash(tensors), config_hash(model), tensors, forms)


def config_hash(model: nn.Module) -> str:
    """SHA-256 of the configurations of the model and its adapters, without VOLATILE entries."""
    config = getattr(model, "config", None)
    adapters = getattr(model, "peft_config", {})  # LoRA's alpha, for example, is in no tensor
    settings = [each.to_dict() for each in (config, *adapters.values()) if hasattr(each, "to_dict")]
    return _json_hash(_lasting(settings))


def form(tensor: torch.Tensor) -> str:
    """A tensor's dtype and shape as text."""
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _lasting(value: Any) -> Any:
    """A configuration as plain values in a fixed order, without VOLATILE entries at any depth."""
    if isinstance(value, dict):
        return {str(key): _lasting(each) for key, each in value.items() if key not in VOLATILE}
    if isinstance(value, list | tuple):
        return [_lasting(each) for each in value]
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else value


def tensor_hash(name: str, tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's form and data; CanonbenchError naming it if a value is NaN or infinite."""

    if tensor.is_meta:
        raise CanonbenchError(f"weight {name!r} has no data (it is on the meta device); load the model fully")
    # Minimum and maximum are NaN if any value is; on a CPU aminmax is 100 times faster than isfinite(tensor).all().
    if tensor.is_floating_point() and tensor.numel() and not all(map(torch.isfinite, torch.aminmax(tensor))):
        raise CanonbenchError(
            f"weight {name!r} holds NaN or infinite values (as {str(tensor.dtype).removeprefix('torch.')}); "
            "this model cannot be scored"
        )
    data = tensor.detach().contiguous().cpu()
    digest = hashlib.sha256(f"{form(data)}\0".encode())
    flat = data.as_strided((data.numel(),), (1,))  # a one-element tensor may keep an odd stride even if contiguous
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _json_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
