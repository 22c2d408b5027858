"""Tiny random models and tokenizers that every room's tests share: real classes of transformers, built in milliseconds.

    from tiny_models import ARCHITECTURES, save_tiny, tiny_model, tiny_tokenizer

    model = tiny_model("llama", seed=1)           # evaluation mode, float32, logits far from uniform
    tokenizer = tiny_tokenizer("bos")             # any text tokenises; at most VOCABULARY ids
    folder = save_tiny(tmp_path / "m", "gpt2", tokenizer="sentencepiece")   # what --model takes

Same arguments, same weights and same tokenizer. Nothing touches the network or torch's global random state.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import canonbench.models.backpack  # noqa: F401  (tells the Auto classes)

TokenizerKind = Literal["plain", "bos", "eos", "bos+eos", "sentencepiece"]
TOKENIZERS: tuple[TokenizerKind, ...] = ("plain", "bos", "eos", "bos+eos", "sentencepiece")

VOCABULARY = 384
"""Rows of a tiny model's output layer; every tiny tokenizer has fewer ids (256 bytes, specials, some merges)."""
CONTEXT = 256
"""Positions of a tiny model, in tokens, where its architecture has a limit."""

_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
_LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": CONTEXT,
}
_GROUPED = _LLAMA | {"num_key_value_heads": 2}
_SIZES: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "gpt2": _GPT2,
    "gpt_neox": _LLAMA | {"rotary_pct": 0.5},
    "gptj": _GPT2 | {"rotary_dim": 4},
    "opt": _LLAMA | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "mistral": _GROUPED | {"sliding_window": 8},
    "qwen3": _GROUPED | {"head_dim": 8},
    "gemma": _GROUPED | {"head_dim": 8},
    "phi": _LLAMA,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": CONTEXT},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 2},
    "backpack": _GPT2 | {"num_senses": 4, "sense_intermediate_scale": 2},
}
ARCHITECTURES = tuple(_SIZES)

_SENTENCES = [
    "The capital of France is Paris, and the capital of Japan is Tokyo.",
    "She said that the nurse was late because he had missed the train.",
    "The keys to the cabinet are on the table near the old window.",
    "In the spring of this year, the company named a new chief executive.",
    "Nobody in the village had seen the river so high since the winter storm.",
]


def tiny_model(architecture: str, vocab_size: int = VOCABULARY, seed: int = 0, **config: Any) -> PreTrainedModel:
    """A random causal LM of one of ARCHITECTURES (hidden size 32, 2 layers), evaluation mode, float32, on the CPU.

    Weights have standard deviation 0.2, norms and biases are random too, so that logits are far from uniform and no
    parameter is without effect. ``config`` overrides single configuration entries (``rope_theta=...``).
    """
    settings = {"vocab_size": vocab_size, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    sizes = _SIZES[architecture] | settings | config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes))
        for name, parameter in model.named_parameters():
            if name.endswith(("A_log", "mixer.D", "dt_proj.bias")):
                continue  # Mamba's own initialisation keeps its recurrence stable
            noise = 0.2 * torch.randn_like(parameter)
            is_scale = parameter.ndim == 1 and name.endswith("weight") and architecture != "gemma"
            parameter.data.copy_(1 + noise if is_scale else noise)
    return model.eval()


@cache
def _tokenizer_json(kind: TokenizerKind) -> str:
    """The tokenizer of a kind, trained once per process on a few sentences."""
    if kind == "sentencepiece":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        alphabet = [chr(code) for code in range(33, 127)]
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"] if kind == "plain" else ["<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 24, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    begins, ends = kind in ("bos", "bos+eos", "sentencepiece"), kind in ("eos", "bos+eos")
    if begins or ends:
        single = f"{'<s> ' if begins else ''}$A{' </s>' if ends else ''}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, pair=f"{single} $B:1", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    text: str = tokenizer.to_str()
    return text


def tiny_tokenizer(kind: TokenizerKind = "plain") -> PreTrainedTokenizerFast:
    """A tokenizer of one of TOKENIZERS.

    - ``plain``: byte-level BPE like GPT-2's; ``<|endoftext|>`` (id 0) is BOS and EOS, and neither is ever added.
    - ``bos``, ``eos``, ``bos+eos``: the same, adding ``<s>`` (id 0) in front and/or ``</s>`` (id 1) at the end.
    - ``sentencepiece``: like Llama 2's: adds ``<s>`` and marks words by ``▁``, one of its own in front, so that
      ``tokenizer(" a", add_special_tokens=False)`` is ``▁``, ``▁a``. Outside ASCII: ``<unk>`` (id 2).
    """
    specials = (
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
        if kind == "plain"
        else {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(kind)), clean_up_tokenization_spaces=False, **specials
    )


def save_tiny(
    folder: Path, architecture: str = "llama", *, tokenizer: TokenizerKind = "plain", seed: int = 0, **config: Any
) -> Path:
    """Save a tiny model (safetensors) and its tokenizer as a Hugging Face folder; returns ``folder``."""
    tiny_model(architecture, seed=seed, **config).save_pretrained(folder)
    tiny_tokenizer(tokenizer).save_pretrained(folder)
    return folder
