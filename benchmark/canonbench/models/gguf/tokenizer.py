"""Tokenizers of GGUF files: refuse or repair those that would split text unlike the original tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from canonbench.models.gguf.header import Header

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)


@dataclass(frozen=True)
class Splitting:
    """The pre-tokenization and related settings of a byte-level BPE tokenizer."""

    pattern: str | None = None
    """Regular expression of the pieces; None for GPT-2's."""
    digits: bool = False
    """Whether every digit is split off as its own piece first."""
    nfc: bool = False
    """Whether text is first normalised to NFC."""
    ignore_merges: bool = False
    """Whether a piece that is in the vocabulary becomes one token without merges."""
    bos: bool = False
    """Whether BOS is added if the file does not say."""


_LLAMA3 = Splitting(LLAMA3, ignore_merges=True, bos=True)
_CODE = Splitting(digits=True)
SPLITTINGS = {
    "gpt-2": Splitting(),
    "llama-bpe": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama3": _LLAMA3,
    "qwen2": Splitting(QWEN2, nfc=True),
    "refact": _CODE,
    "smollm": _CODE,
    "starcoder": _CODE,
    "tekken": Splitting(TEKKEN, ignore_merges=True, bos=True),
}
"""The original tokenizers' settings, by their names in ``tokenizer.ggml.pre``."""
_UNHEEDED = ("add_sep_token", "remove_extra_whitespaces", "precompiled_charsmap", "normalizer.lowercase")


def check_tokenizer(header: Header) -> None:
    """Refuse a file whose tokenizer would not give the original's tokens.

    Raises:
        CanonbenchError: the tokenizer is missing or unsupported, or has a step that transformers would skip.
    """
    kind, pre = (header.fields.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    if kind is None or not header.fields.get("tokenizer.ggml.tokens"):
        raise header.refuse("its header describes no tokenizer")
    if kind == "llama":
        if pre not in (None, "default"):
            raise header.refuse(f"its tokenizer is SentencePiece, but its header splits text as {pre!r}")
    elif kind != "gpt2":
        raise header.refuse(f"its tokenizer is of kind {kind!r}; only 'gpt2' and 'llama' are supported")
    elif pre in (None, "default"):
        raise header.refuse("its header does not say how text is split (tokenizer.ggml.pre)")
    elif pre not in SPLITTINGS:
        raise header.refuse(
            f"its header splits text as {pre!r} (tokenizer.ggml.pre); only {', '.join(SPLITTINGS)} are supported"
        )
    for key in _UNHEEDED:
        if header.fields.get(f"tokenizer.ggml.{key}"):
            raise header.refuse(f"its header sets tokenizer.ggml.{key}, which transformers would ignore")
    for name in ("bos", "eos"):
        if _adds(header, name) and header.fields.get(f"tokenizer.ggml.{name}_token_id") is None:
            raise header.refuse(f"its tokenizer adds {name.upper()}, but its header does not say which token that is")


def mend_tokenizer(tokenizer: Any, header: Header) -> Any:
    """Add what transformers leaves out of the tokenizer that it builds: splitting, NFC, spaces and BOS.

    Tokens that transformers adds beyond the file's vocabulary (such as ``<|endoftext|>``) are removed, because the
    model does not have them.
    """

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    size = header.fields["tokenizer.ggml.tokens"]
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < size]
    backend = tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    if header.fields["tokenizer.ggml.model"] == "llama":
        if header.fields.get("tokenizer.ggml.add_space_prefix") is False and _is_metaspace(backend.pre_tokenizer):
            backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never", split=False)
    else:
        way = SPLITTINGS[header.fields["tokenizer.ggml.pre"]]
        steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if way.digits else []
        if way.pattern:
            steps.append(pre_tokenizers.Split(Regex(way.pattern), behavior="isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=way.pattern is None))
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
        backend.normalizer = normalizers.NFC() if way.nfc else None
        backend.model.ignore_merges = way.ignore_merges
    if _adds(header, "bos") != bool(tokenizer.add_bos_token):
        tokenizer.add_bos_token = _adds(header, "bos")
    return tokenizer


def _is_metaspace(pre_tokenizer: Any) -> bool:
    return type(pre_tokenizer).__name__ == "Metaspace"


def _adds(header: Header, name: str) -> bool:
    """Whether the tokenizer adds BOS or EOS: from the file, or else the default of the tokenizer's type."""
    said = header.fields.get(f"tokenizer.ggml.add_{name}_token")
    if said is not None:
        return bool(said)
    if name == "eos":
        return False
    if header.fields["tokenizer.ggml.model"] == "llama":
        return True
    return SPLITTINGS[header.fields["tokenizer.ggml.pre"]].bos
