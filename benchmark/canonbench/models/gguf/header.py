"""Convert a GGUF header to a transformers configuration; refuse a file if any key would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models.gguf.rope import gemma3_rope, plain_rope

INSTEAD = "use the safetensors model that the file was converted from"
"""Advice in the message about a refused file."""


@dataclass(frozen=True)
class Header:
    """Keys and tensors of a GGUF file, or of all the parts of a split one."""

    path: Path
    fields: Mapping[str, Any]
    """Values by key: numbers, strings and lists of numbers; an array of strings is its length."""
    tensors: Mapping[str, tuple[int, ...]]
    """Shapes by name, rows first."""
    rope_factors: Sequence[float] | None = None
    """The divisor of each rotary frequency (``rope_freqs.weight``)."""

    @property
    def architecture(self) -> str:
        """The architecture's name, which is also the namespace of its keys."""
        return str(self.fields.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key in the architecture's namespace."""
        return self.fields.get(f"{self.architecture}.{key}", default)

    def refuse(self, why: str) -> CanonbenchError:
        """Build the error to raise if this file's scores would not be the original model's."""
        return CanonbenchError(f"{self.path}: {why}; {INSTEAD}")


@dataclass(frozen=True)
class Architecture:
    """The keys and tensors of one architecture that transformers honours, tested against the unconverted model."""

    model_type: str
    carried: Mapping[str, str]
    """Required header keys and the configuration entries that they become."""
    blocks: frozenset[str]
    """Tensors allowed in a block, as in ``blk.0.attn_q.weight``; missing ones are reported when weights are loaded."""
    implied: Mapping[str, Any] = field(default_factory=dict)
    """Configuration entries that the architecture implies and that differ from transformers' defaults."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Configuration entries that are true if the first block has the given tensor."""
    top: frozenset[str] = frozenset()
    """Tensors outside the blocks, besides embeddings, last norm and output."""
    head_dim: bool = True
    """Whether the configuration has an entry for the head size."""
    rope: bool = True
    partial: bool = False
    """Whether RoPE may rotate only part of each head."""
    scaled: bool = True
    """Whether rotary frequencies may be scaled."""


_SIZES = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
_RMS = _SIZES | {"attention.layer_norm_rms_epsilon": "rms_norm_eps"}
_EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_GEMMA = _RMS | {"attention.sliding_window": "sliding_window"}


def _weights(*names: str) -> frozenset[str]:
    return frozenset(f"{name}.weight" for name in names)


def _biases(*names: str) -> frozenset[str]:
    return frozenset(f"{name}.bias" for name in names)


_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
_MLP = ("ffn_gate", "ffn_up", "ffn_down")
_LLAMA = _weights(*_ATTENTION, *_MLP, "attn_norm", "ffn_norm")
_QK_NORMS = _weights("attn_q_norm", "attn_k_norm")
_GEMMA_NORMS = _weights("post_attention_norm", "post_ffw_norm")
_ROUTED = _weights("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_SHARED = _weights("ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp")
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        "llama",
        _RMS,
        _LLAMA | _biases(*_ATTENTION, *_MLP),
        flags={"attention_bias": "attn_q.bias", "mlp_bias": "ffn_up.bias"},
    ),
    "qwen2": Architecture("qwen2", _RMS, _LLAMA | _biases("attn_q", "attn_k", "attn_v"), head_dim=False),
    "qwen3": Architecture("qwen3", _RMS, _LLAMA | _QK_NORMS),
    "qwen2moe": Architecture(
        "qwen2_moe",
        _RMS | _EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
        (_LLAMA - _weights(*_MLP)) | _biases("attn_q", "attn_k", "attn_v") | _ROUTED | _SHARED,
        {"norm_topk_prob": False},
        head_dim=False,
    ),
    "qwen3moe": Architecture(
        "qwen3_moe", _RMS | _EXPERTS, (_LLAMA - _weights(*_MLP)) | _QK_NORMS | _ROUTED, {"norm_topk_prob": True}
    ),
    "gemma2": Architecture(
        "gemma2",
        _GEMMA
        | {
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        _LLAMA | _GEMMA_NORMS,
    ),
    "gemma3": Architecture("gemma3_text", _GEMMA, _LLAMA | _GEMMA_NORMS | _QK_NORMS),
    "phi3": Architecture(
        "phi3",
        _RMS,
        _weights("attn_qkv", "attn_output", "ffn_up", "ffn_down", "attn_norm", "ffn_norm"),
        head_dim=False,
        partial=True,
        scaled=False,
    ),
    "starcoder2": Architecture(
        "starcoder2",
        _SIZES | {"attention.layer_norm_epsilon": "norm_epsilon"},
        _weights(*_ATTENTION, "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
        | _biases(*_ATTENTION, "ffn_up", "ffn_down", "attn_norm", "ffn_norm"),
        flags={"use_bias": "attn_q.bias"},
        top=_biases("output_norm"),
        head_dim=False,
    ),
    "gpt2": Architecture(
        "gpt2",
        {
            "context_length": "n_positions",
            "block_count": "n_layer",
            "embedding_length": "n_embd",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        _weights("attn_qkv", "attn_output", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
        | _biases("attn_qkv", "attn_output", "ffn_up", "ffn_down", "attn_norm", "ffn_norm"),
        top=_weights("position_embd") | _biases("output_norm"),
        head_dim=False,
        rope=False,
    ),
}
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "embedding_scale": (0, 1),
    "expert_count": (0,),
    "expert_gating_func": (0, 1),  # unset, softmax
    "expert_shared_count": (0,),
    "expert_used_count": (0,),
    "expert_weights_scale": (0, 1),
    "final_logit_softcapping": (0,),
    "leading_dense_block_count": (0,),
    "logit_scale": (0, 1),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (0, 1),
    "tensor_data_layout": ("Meta AI original pth",),  # how every llama file lays out its heads
    "use_parallel_residual": (False,),
}
"""Values with which a header key has no effect; other values of keys that are not carried are refused."""
_HEADS = ("attention.key_length", "attention.value_length")
_ROPE = ("rope.dimension_count", "rope.freq_base")
_SCALING = ("rope.scale_linear", "rope.scaling.")


def configuration(header: Header) -> Any:
    """The transformers configuration of the model in a GGUF file.

    Raises:
        CanonbenchError: the architecture, a header key or a tensor is not supported.
    """
    from transformers import AutoConfig  # noqa: PLC0415  (slow to import)

    known = _architecture(header)
    _check_tensors(header, known)
    _check_keys(header, known)
    entries = {entry: _single(header, key) for key, entry in known.carried.items()}
    entries |= known.implied
    entries |= {flag: f"blk.0.{tensor}" in header.tensors for flag, tensor in known.flags.items()}
    if known.rope:
        head = _head_size(header, known)
        if known.head_dim:
            entries["head_dim"] = head
        entries |= _rope(header, known, head)
    if header.architecture in ("gemma2", "gemma3"):
        entries["query_pre_attn_scalar"] = _gemma_scale(header, entries["head_dim"])
    return AutoConfig.for_model(known.model_type, **entries, **_vocabulary(header))


def _architecture(header: Header) -> Architecture:
    if header.fields.get("general.type", "model") != "model":
        raise CanonbenchError(f"{header.path} holds a GGUF {header.fields['general.type']}, not a model")
    if header.architecture == "mistral":
        raise header.refuse(
            "its header names the architecture mistral, which GGUF does not have: a Mistral model is written as llama"
        )
    if header.architecture not in ARCHITECTURES:
        raise header.refuse(
            f"GGUF files of architecture {header.architecture!r} are not supported, only {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[header.architecture]


def _check_tensors(header: Header, known: Architecture) -> None:
    """Refuse a tensor that transformers would silently ignore."""
    top = {"token_embd.weight", "output_norm.weight", "output.weight", *known.top}
    if known.scaled and known.rope:
        top.add("rope_freqs.weight")
    for name in header.tensors:
        _, block, inner = (*name.split(".", 2), "", "")[:3]
        if not (name in top or (name.startswith("blk.") and block.isdigit() and inner in known.blocks)):
            raise header.refuse(f"its tensor {name} has no place in transformers' {known.model_type}")
    if "token_embd.weight" not in header.tensors:
        raise CanonbenchError(f"{header.path} lacks the tensor token_embd.weight; is the file truncated or corrupt?")


def _check_keys(header: Header, known: Architecture) -> None:
    """Refuse a key in the architecture's namespace that is neither carried nor set to a value without effect."""
    handled = {"vocab_size", *known.carried}  # the vocabulary size is taken from the embedding's shape
    if known.rope:
        handled |= {*_HEADS, *_ROPE}
    if header.architecture == "gemma3":
        handled.add("rope.freq_base_swa")
    for name, value in header.fields.items():
        namespace, _, key = name.partition(".")
        if namespace != header.architecture or key in handled:
            continue
        if known.rope and key.startswith(_SCALING):
            continue  # checked together by plain_rope
        if key == "attention.sliding_window" and _no_window(header, value):
            continue
        if key not in NEUTRAL or value not in NEUTRAL[key]:
            raise header.refuse(f"its header sets {name} to {_short(value)}, which transformers would ignore")
    if missing := [key for key in known.carried if header.get(key) is None]:
        raise header.refuse(f"its header lacks {header.architecture}.{missing[0]}, so a default would stand in for it")


def _no_window(header: Header, window: int) -> bool:
    """Whether an attention window covers the whole context, so that it has no effect."""
    return not 0 < window < int(header.get("context_length", 0))


def _single(header: Header, key: str) -> Any:
    """The value of a key that must be the same for all layers."""
    value = header.get(key)
    if isinstance(value, list):
        raise header.refuse(f"its header sets {header.architecture}.{key} layer by layer ({_short(value)})")
    return value


def _head_size(header: Header, known: Architecture) -> int:
    """The size of an attention head."""
    share = _even_share(header)
    keys, values = (header.get(key, share) for key in _HEADS)
    if keys != values or (keys != share and not known.head_dim):
        raise header.refuse(f"its header gives heads of {keys} (keys) and {values} (values), where {share} is expected")
    return int(keys)


def _even_share(header: Header) -> int:
    return int(header.get("embedding_length") // header.get("attention.head_count"))


def _rope(header: Header, known: Architecture, head: int) -> dict[str, Any]:
    """The configuration's RoPE entries."""
    rotated = header.get("rope.dimension_count", head)
    if rotated != head and not known.partial:
        raise header.refuse(f"its header rotates {rotated} of the {head} numbers of each head")
    rope = plain_rope(header, rotated)
    if not known.scaled and rope["rope_type"] != "default":
        raise header.refuse(f"its header scales rotary frequencies, which it cannot say for {known.model_type}")
    if known.partial:
        rope["partial_rotary_factor"] = rotated / head
    return {"rope_parameters": gemma3_rope(header, rope) if known.model_type == "gemma3_text" else rope}


def _gemma_scale(header: Header, head: int) -> int:
    """The number whose square root divides attention scores: the head size, except in each generation's largest model.

    There it is the embedding length divided by the number of heads.
    """
    largest = {"gemma2": 46, "gemma3": 62}[header.architecture]
    return _even_share(header) if header.get("block_count") == largest else head


def _vocabulary(header: Header) -> dict[str, Any]:
    """The configuration's vocabulary entries; bos, eos and pad ids that the file lacks are set to None."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    ids = {f"{name}_token_id": header.fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    said = {"unk_token_id": ids.pop("unk_token_id"), "_model_name_or_path": header.fields.get("general.name")}
    return {
        "vocab_size": header.tensors["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in header.tensors,
        **ids,
        **{name: value for name, value in said.items() if value is not None},
    }


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
