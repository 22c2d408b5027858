"""What a GGUF header says about the computation: each key is carried into the configuration, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models.gguf.rope import gemma3_rope, plain_rope

INSTEAD = "use the safetensors model that the file was converted from"
"""What to do about a file that is refused."""


@dataclass(frozen=True)
class Header:
    """Keys and tensors of a GGUF file, or of all the parts of a split one."""

    path: Path
    fields: Mapping[str, Any]
    """Values by key; numbers, strings, and lists of them."""
    tensors: Mapping[str, tuple[int, ...]]
    """Shapes by name, rows first."""
    rope_factors: Sequence[float] | None = None
    """By how much each rotary frequency is divided (``rope_freqs.weight``)."""

    @property
    def architecture(self) -> str:
        """The name that is also the namespace of the keys about the computation."""
        return str(self.fields.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key of the architecture's namespace."""
        return self.fields.get(f"{self.architecture}.{key}", default)

    def refuse(self, why: str) -> CanonbenchError:
        """An error that says why this file's scores would not be the model's."""
        return CanonbenchError(f"{self.path}: {why}; {INSTEAD}")


@dataclass(frozen=True)
class Architecture:
    """What is known to be honoured of one architecture: shown by tests that compare with the same model unconverted."""

    model_type: str
    carried: Mapping[str, str]
    """Header keys and the configuration entries that they become. All must be there."""
    blocks: frozenset[str]
    """Tensors of a block, as in ``blk.0.attn_q.weight``; those that the model has but the file lacks are told later."""
    implied: Mapping[str, Any] = field(default_factory=dict)
    """Configuration entries that the architecture's name stands for, where transformers' own default is another."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Configuration entries that are true where the first block has this tensor."""
    top: frozenset[str] = frozenset()
    """Tensors outside the blocks, besides embeddings, last norm and output."""
    head_dim: bool = True
    """Whether the configuration has an entry for the size of a head."""
    rope: bool = True
    partial: bool = False
    """Whether only a part of each head may be rotated."""
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
"""Values by which a key of the header changes nothing, where the architecture does not carry it."""
_HEADS = ("attention.key_length", "attention.value_length")
_ROPE = ("rope.dimension_count", "rope.freq_base")
_SCALING = ("rope.scale_linear", "rope.scaling.")


def configuration(header: Header) -> Any:
    """The transformers configuration of the model in a GGUF file.

    Raises:
        CanonbenchError: the architecture, a key of the header or a tensor is not one that is known to be honoured.
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
    """Refuse a tensor that transformers would leave out without a word."""
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
    """Refuse a key of the architecture's namespace that is neither carried nor set to a value that changes nothing."""
    handled = {"vocab_size", *known.carried}  # the rows of the embedding say how many there are
    if known.rope:
        handled |= {*_HEADS, *_ROPE}
    if header.architecture == "gemma3":
        handled.add("rope.freq_base_swa")
    for name, value in header.fields.items():
        namespace, _, key = name.partition(".")
        if namespace != header.architecture or key in handled:
            continue
        if known.rope and key.startswith(_SCALING):
            continue  # judged as a whole
        if key == "attention.sliding_window" and _no_window(header, value):
            continue
        if key not in NEUTRAL or value not in NEUTRAL[key]:
            raise header.refuse(f"its header sets {name} to {_short(value)}, which transformers would ignore")
    if missing := [key for key in known.carried if header.get(key) is None]:
        raise header.refuse(f"its header lacks {header.architecture}.{missing[0]}, so a default would stand in for it")


def _no_window(header: Header, window: int) -> bool:
    """Whether a window hides no token of the context."""
    return not 0 < window < int(header.get("context_length", 0))


def _single(header: Header, key: str) -> Any:
    """A value that holds for all layers."""
    value = header.get(key)
    if isinstance(value, list):
        raise header.refuse(f"its header sets {header.architecture}.{key} layer by layer ({_short(value)})")
    return value


def _head_size(header: Header, known: Architecture) -> int:
    """Numbers per attention head."""
    share = _even_share(header)
    keys, values = (header.get(key, share) for key in _HEADS)
    if keys != values or (keys != share and not known.head_dim):
        raise header.refuse(f"its header gives heads of {keys} (keys) and {values} (values), where {share} is expected")
    return int(keys)


def _even_share(header: Header) -> int:
    return int(header.get("embedding_length") // header.get("attention.head_count"))


def _rope(header: Header, known: Architecture, head: int) -> dict[str, Any]:
    """The configuration's rotary entries."""
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
    """The number whose root divides attention scores: a head's size but in the largest model of each generation."""
    largest = {"gemma2": 46, "gemma3": 62}[header.architecture]
    return _even_share(header) if header.get("block_count") == largest else head


def _vocabulary(header: Header) -> dict[str, Any]:
    """The configuration's entries about tokens; ids that the file does not name are none, whatever the default."""
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
