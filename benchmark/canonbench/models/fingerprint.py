"""Fingerprints: what a model *is*, whatever it is called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from canonbench.errors import CanonbenchError

if TYPE_CHECKING:
    import torch
    from torch import nn

VOLATILE = frozenset(
    "_name_or_path transformers_version dtype torch_dtype architectures use_cache _attn_implementation "
    "_attn_implementation_internal quantization_config _commit_hash auto_map id2label label2id".split()
)
"""Configuration entries that do not change what the model computes."""


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of a model's tensors (each, and all together) and of its configuration."""

    weights: str
    config: str
    tensors: dict[str, str]
    """Per tensor of the state dict."""

    @property
    def key(self) -> str:
        """One hash of all that determines the model's function; the key of cached scores."""
        return hashlib.sha256(f"{self.weights} {self.config}".encode()).hexdigest()


def fingerprint(model: nn.Module) -> Fingerprint:
    """Hash every tensor of the state dict, in its present dtype.

    Raises:
        CanonbenchError: a weight is NaN or infinite; it is named.
    """
    seen: dict[tuple[Any, ...], str] = {}  # tied tensors are hashed once
    tensors = {}
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device))
        if place not in seen:
            seen[place] = _tensor_hash(name, tensor)
        tensors[name] = seen[place]
    config = getattr(model, "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else {}
    kept = {key: value for key, value in settings.items() if key not in VOLATILE}
    return Fingerprint(_json_hash(tensors), _json_hash(kept), tensors)


def _tensor_hash(name: str, tensor: torch.Tensor) -> str:
    import torch  # noqa: PLC0415

    if tensor.is_meta:
        raise CanonbenchError(f"weight {name!r} has no data (it is on the meta device); load the model fully")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CanonbenchError(f"weight {name!r} holds NaN or infinite values; this checkpoint cannot be scored")
    data = tensor.detach().contiguous().cpu()
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)}\0".encode())
    digest.update(data.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _json_hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
