"""GGUF files written on the spot from tiny models, as the common converter writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_models import VOCABULARY, tiny_tokenizer

_Q8 = gguf.GGMLQuantizationType.Q8_0
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GEMMA = {"head_dim": 24, "query_pre_attn_scalar": 24, "sliding_window": 8, "num_hidden_layers": 6}
_GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SIZES | _THETA | {"head_dim": 24}),
    "qwen2": ("qwen2", _SIZES | _THETA),
    "qwen3": ("qwen3", _SIZES | _THETA | {"head_dim": 24}),
    "qwen2moe": (
        "qwen2_moe",
        _SIZES | _THETA | _MOE | {"shared_expert_intermediate_size": 48, "norm_topk_prob": False},
    ),
    "qwen3moe": ("qwen3_moe", _SIZES | _THETA | _MOE | {"head_dim": 24, "norm_topk_prob": True}),
    "gemma2": (
        "gemma2",
        _SIZES | _THETA | _GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": ("gemma3_text", _SIZES | _GEMMA | {"rope_parameters": _GEMMA3_ROPE}),
    "phi3": (
        "phi3",
        _SIZES | {"rope_parameters": _THETA["rope_parameters"] | {"partial_rotary_factor": 0.5}},
    ),
    "starcoder2": ("starcoder2", {**_SIZES, **_THETA, "norm_epsilon": 1e-3, "rms_norm_eps": None}),
    "gpt2": (
        "gpt2",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "n_inner": 96}
        | {"layer_norm_epsilon": 1e-3, "bos_token_id": 0, "eos_token_id": 0},
    ),
}
"""By GGUF's architecture: transformers' name of it, and a configuration that departs from every default."""


def model_of(architecture: str, **changes: Any) -> Any:
    """A random model of one of MODELS; ``changes`` override configuration entries."""
    model_type, config = MODELS[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config | changes))
        for parameter in model.parameters():
            parameter.data.copy_(0.3 * torch.randn_like(parameter) + (parameter.ndim == 1))
    return model.eval()


def write_gguf(
    path: Path,
    model: Any,
    *,
    architecture: str = "llama",
    drop: str = "",
    header: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    per_part: int = 0,
    quantize: bool = False,
) -> Path:
    """A tiny model and tokenizer as a GGUF file.

    Args:
        path: of the file; of a split set, what the parts' names begin with, ending in ``.gguf``.
        model: one of MODELS, or a tiny llama.
        architecture: GGUF's name of it.
        drop: the model's name of a tensor to leave out.
        header: keys to set besides, or to leave out where the value is None.
        extra: tensors to add, by GGUF's names.
        tokenizer: byte-level; None for the plain tiny one.
        per_part: tensors of each part; 0 for a file in one part.
        quantize: whether matrices are written in eight bits.
    """
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=per_part)
    vocabulary = _vocabulary(tokenizer or tiny_tokenizer("plain"), model.config.vocab_size)
    keys = {f"{architecture}.{key}": value for key, value in _keys(model.config).items()} | vocabulary
    for key, value in (keys | dict(header or {})).items():
        _add(writer, key, value)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if name != drop:
            for gguf_name, array in _tensors(name, tensor.numpy(), model.config, architecture):
                kind = _Q8 if quantize and array.ndim == 2 else None
                data = np.ascontiguousarray(array)
                writer.add_tensor(gguf_name, gguf.quantize(data, kind) if kind else data, raw_dtype=kind)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, np.asarray(array, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _keys(config: Any) -> dict[str, Any]:
    """Header keys about the computation, without the namespace."""
    entries = config.to_dict()
    head = entries.get("head_dim") or config.hidden_size // config.num_attention_heads
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    pairs = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": entries.get("intermediate_size") or entries.get("n_inner"),
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": entries.get("num_key_value_heads"),
        "attention.key_length": entries.get("head_dim"),
        "attention.value_length": entries.get("head_dim"),
        "attention.layer_norm_rms_epsilon": entries.get("rms_norm_eps"),
        "attention.layer_norm_epsilon": entries.get("layer_norm_epsilon") or entries.get("norm_epsilon"),
        "attention.sliding_window": entries.get("sliding_window") or None,
        "attn_logit_softcapping": entries.get("attn_logit_softcapping"),
        "final_logit_softcapping": entries.get("final_logit_softcapping"),
        "expert_count": entries.get("num_experts", entries.get("num_local_experts")),
        "expert_used_count": entries.get("num_experts_per_tok"),
        "expert_feed_forward_length": entries.get("moe_intermediate_size"),
        "expert_shared_feed_forward_length": entries.get("shared_expert_intermediate_size"),
        "rope.dimension_count": int(head * rope.get("partial_rotary_factor", 1)) if rope else None,
        "rope.freq_base": rope.get("rope_theta"),
        "vocab_size": config.vocab_size,
    }
    if rope.get("rope_type") in ("linear", "yarn"):
        pairs |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
        pairs |= {"rope.scaling.original_context_length": rope.get("original_max_position_embeddings")}
    return {key: value for key, value in pairs.items() if value is not None}


def _vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["id"] for token in state["added_tokens"]}
    kinds = [gguf.TokenType.CONTROL if index in special else gguf.TokenType.NORMAL for index in range(size)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [tokens.get(index, f"[PAD{index}]") for index in range(size)],
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in state["model"].get("merges", [])],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _tensors(name: str, weight: Any, config: Any, architecture: str) -> list[tuple[str, Any]]:
    """GGUF's names and layouts of one of the model's tensors."""
    block = f"blk.{name.split('.')[2]}" if ".layers." in name else ""
    if name.endswith("experts.gate_up_proj"):
        gate, up = np.split(weight, 2, axis=1)
        return [(f"{block}.ffn_gate_exps.weight", gate), (f"{block}.ffn_up_exps.weight", up)]
    if name.endswith("experts.down_proj"):
        return [(f"{block}.ffn_down_exps.weight", weight)]
    if name.endswith("shared_expert_gate.weight"):
        weight = weight[0]
    stem, _, suffix = name.rpartition(".")
    known = _names(architecture, config.num_hidden_layers).get_name(stem)
    return [(f"{known}.{suffix}", _layout(name, weight, config, architecture))]


@cache
def _names(architecture: str, layers: int) -> Any:
    """GGUF's names by the model's; an architecture that GGUF does not have gets llama's."""
    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(known.get(architecture, gguf.MODEL_ARCH.LLAMA), layers)


def _layout(name: str, weight: Any, config: Any, architecture: str) -> Any:
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return weight.T
    heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", None)}
    if architecture == "llama" and (count := heads.get(name.split(".")[-2])):
        halves = weight.reshape(count, 2, -1, *weight.shape[1:])  # the two halves that rotary embeddings pair
        return halves.swapaxes(1, 2).reshape(weight.shape)
    return weight
