"""What the tests of models share: damage to a checkpoint, logits, adapters, a GGUF file written on the spot."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file

from tiny_models import tiny_model, tiny_tokenizer

IDS = torch.arange(3, 43)[None]
"""A probe that every tiny model takes; shape (1, 40)."""


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Logits of the probe in float32, shape (40, V); virtual tokens in front are left out."""
    found: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return found[0, -IDS.shape[1] :].float()


def damaged(original: Path, tmp_path: Path, damage: Callable[[Path], Any]) -> Path:
    """A copy of a folder that ``damage`` has worked on."""
    folder = tmp_path / "damaged"
    shutil.copytree(original, folder)
    damage(folder)
    return folder


def change_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], name: str = "model.safetensors"
) -> None:
    """Rewrite a safetensors file after ``change`` has worked on its tensors."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


def change_json(path: Path, **entries: Any) -> None:
    """Set entries of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def save_adapter(
    folder: Path,
    config: peft.PeftConfig,
    base: Path | str,
    *,
    architecture: str = "llama",
    seed: int = 0,
    effect: float = 0.1,
) -> torch.Tensor:
    """Save an adapter of ``tiny_model(architecture, seed=seed)`` that names ``base``; returns the unmerged logits."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # peft's doubts about tied weights are no matter here
        torch.manual_seed(1)
        model = peft.get_peft_model(tiny_model(architecture, seed=seed), config)
        model.peft_config["default"].base_model_name_or_path = str(base)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += effect * torch.randn_like(parameter)
        model.save_pretrained(folder)
    return logits(model.eval())


def lora(**options: Any) -> peft.LoraConfig:
    """A LoRA on attention and MLP of a llama."""
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "up_proj"], "r": 4} | options)


_GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, model: Any, *, drop: str = "", architecture: str = "llama") -> Path:
    """A tiny llama and the plain tiny tokenizer as a GGUF file, without the tensor named ``drop``."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokenizer = tiny_tokenizer("plain")
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens.get(index, f"[PAD{index}]") for index in range(config.vocab_size)])
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (config.vocab_size - 1))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, tensor in model.state_dict().items():
        if name != drop:
            writer.add_tensor(_gguf_name(name), _gguf_layout(name, tensor.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if stem in top:
        return f"{top[stem]}.weight"
    _, _, layer, inner = stem.split(".", 3)
    return f"blk.{layer}.{_GGUF_NAMES[inner]}.weight"


def _gguf_layout(name: str, weight: Any, config: Any) -> Any:
    """GGUF interleaves the two halves that rotary embeddings pair in each head's rows."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
