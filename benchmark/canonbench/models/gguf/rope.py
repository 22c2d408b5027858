"""Convert the rotary position embeddings of a GGUF header to transformers' ``rope_parameters``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from canonbench.models.gguf.header import Header


DEFAULT_THETA = 10_000.0
"""The base of the frequencies if the header gives none."""
DEFAULT_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}
AGREE = 1e-5
"""Largest relative difference allowed between the stored frequency factors and the configuration's."""
_HONOURED = {
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",  # about the training only
    "rope.scale_linear",  # the factor's old name
}
_OF_YARN = {"rope.scaling.yarn_beta_fast": "beta_fast", "rope.scaling.yarn_beta_slow": "beta_slow"}
_NEUTRAL = {
    "rope.scaling.attn_factor": (0, 1),
    "rope.scaling.yarn_attn_factor": (1,),
    "rope.scaling.yarn_ext_factor": (-1,),  # -1 is the default of the scaling type
    "rope.scaling.yarn_log_multiplier": (0,),
}


def plain_rope(header: Header, rotated: int) -> dict[str, Any]:
    """Theta and scaling of the rotary frequencies, as a configuration's ``rope_parameters``.

    Args:
        header: the file's header.
        rotated: the rotated dimensions of each head, two per frequency.

    Raises:
        CanonbenchError: the scaling cannot be expressed in transformers.
    """
    theta = float(header.get("rope.freq_base", DEFAULT_THETA))
    factor = float(header.get("rope.scaling.factor", 0) or header.get("rope.scale_linear", 0) or 1)
    kind = header.get("rope.scaling.type", "linear")  # a factor alone means linear
    _check_keys(header, kind)
    if header.rope_factors is not None:
        if kind == "yarn" or (kind == "linear" and factor != 1):
            raise header.refuse("its header scales rotary frequencies both by rope_freqs.weight and by a factor")
        return {"rope_theta": theta} | _stored(header, header.rope_factors, theta, rotated)
    if kind == "none" or (kind == "linear" and factor == 1):
        return {"rope_theta": theta, "rope_type": "default"}
    if kind == "linear":
        return {"rope_theta": theta, "rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise header.refuse(f"its header scales rotary frequencies by {kind}, which is not supported")
    original = header.get("rope.scaling.original_context_length", header.get("context_length"))
    betas = {name: float(header.get(key, DEFAULT_BETAS[name])) for key, name in _OF_YARN.items()}
    yarn = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    return {"rope_theta": theta} | yarn | betas


def gemma3_rope(header: Header, rope: dict[str, Any]) -> dict[str, Any]:
    """Gemma 3's ``rope_parameters``: scaling in full-attention layers, other frequencies in sliding-window layers."""
    if header.get("rope.freq_base") is None:
        raise header.refuse("its header lacks gemma3.rope.freq_base, so a default would stand in for it")
    local = float(header.get("rope.freq_base_swa", DEFAULT_THETA))
    return {"full_attention": rope, "sliding_attention": {"rope_theta": local, "rope_type": "default"}}


def _check_keys(header: Header, kind: str) -> None:
    """Refuse a scaling key that transformers would ignore."""
    for name, value in header.fields.items():
        key = name.removeprefix(f"{header.architecture}.")
        if not key.startswith(("rope.scaling.", "rope.scale_linear")) or key in _HONOURED:
            continue
        neutral = _NEUTRAL.get(key, ())
        if key in _OF_YARN and kind != "yarn":
            continue
        if key not in _OF_YARN and value not in neutral:
            raise header.refuse(f"its header sets {name} to {value!r}, which transformers would ignore")


def _stored(header: Header, factors: Any, theta: float, rotated: int) -> dict[str, Any]:
    """Find the Llama 3.1 scaling that yields the stored factors; its parameters are not in the file.

    Frequencies are unchanged at short wavelengths, divided by a factor at long ones, and interpolated in between,
    linearly in the inverse wavelength. Only the ratio of the bounds to the original length matters, so the low bound is
    set to 1.
    """
    stored = np.asarray(factors, dtype=np.float64)
    if stored.shape != (rotated // 2,):
        raise header.refuse(f"its rope_freqs.weight has {len(stored)} factors for {rotated // 2} frequencies")
    if np.allclose(stored, 1, rtol=AGREE, atol=0):
        return {"rope_type": "default"}
    inverse = theta ** (-np.arange(0, rotated, 2) / rotated) / (2 * np.pi)  # inverse wavelengths, per token
    factor = round(float(stored.max()), 4)
    lengths = [8192.0, float(header.get("rope.scaling.original_context_length", 8192))]
    candidates = [(4.0, length) for length in lengths]  # as published with Llama 3.1, 3.2 and 3.3
    between = (stored > 1 + AGREE) & (stored < factor * (1 - AGREE))
    if between.sum() >= 2:
        share = (1 / stored[between] - 1 / factor) / (1 - 1 / factor)
        slope, start = np.polyfit(inverse[between], share, 1)
        if start < 0:
            candidates.append((round(float(1 - 1 / start), 3), float(round(-slope / start))))
    for high, original in candidates:
        if np.allclose(_llama3_factors(inverse, factor, high, original), stored, rtol=AGREE, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": high,
                "original_max_position_embeddings": int(original),
            }
    raise header.refuse("its rope_freqs.weight does not scale frequencies in the way of Llama 3.1")


def _llama3_factors(
    inverse: npt.NDArray[np.float64], factor: float, high: float, original: float
) -> npt.NDArray[np.float64]:
    """The divisors (F,) of the frequencies in Llama 3.1's scaling; ``inverse`` (F,) are the inverse wavelengths."""
    share = np.clip((original * inverse - 1) / (high - 1), 0, 1)
    return np.asarray(1 / (share + (1 - share) / factor))
