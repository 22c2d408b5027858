"""Text is tokenized as by the tokenizer that the file was made from, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf_cases import write_gguf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from canonbench.errors import CanonbenchError
from canonbench.models.checkpoint import Trust, load_tokenizer
from tiny_models import VOCABULARY, tiny_model

TEXTS = [
    "In 1999  there were 12345 of them,  3 of which\n\n42 m² ½ ² had; it's I'LL don't",
    "  leading, trailing  \n",
    "naïve nai\u0308ve ABCdef HTTPServer/2//\r\n\r\n x",
    "tabs\t\tand 日本語 text — «quoted» $100%!!!\n\n\n1. list\n2) list",
]
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = [pre_tokenizers.ByteLevel(add_prefix_space=False)]


def split_by(pattern: str) -> list[Any]:
    return [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


ORIGINALS: dict[str, list[Any]] = {
    "gpt-2": GPT2,
    "smollm": [pre_tokenizers.Digits(individual_digits=True), *GPT2],
    "starcoder": [pre_tokenizers.Digits(individual_digits=True), *GPT2],
    "llama-bpe": split_by(rf"{_WORDS}|\p{{N}}{{1,3}}{_REST}"),
    "qwen2": split_by(rf"{_WORDS}|\p{{N}}{_REST}"),
    "tekken": split_by(_CASED),
}
"""What stands in the ``tokenizer.json`` of GPT-2, SmolLM2, StarCoder, Llama 3, Qwen2 and Mistral Nemo."""


def original(pre: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")))
    tokenizer.normalizer = normalizers.NFC() if pre == "qwen2" else None
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(ORIGINALS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 4,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")


def written(path: Path, pre: str, **header: Any) -> Path:
    keys = {f"tokenizer.ggml.{key}": value for key, value in header.items()}
    return write_gguf(
        path / "model.gguf",
        tiny_model("llama"),
        tokenizer=original(pre),
        header={"tokenizer.ggml.pre": pre, "tokenizer.ggml.eos_token_id": 1} | keys,
    )


def refusal(path: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        load_tokenizer(path, trust=Trust())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pre", ORIGINALS)
def test_text_is_split_as_by_the_original_tokenizer(pre: str, tmp_path: Path) -> None:
    loaded = load_tokenizer(written(tmp_path, pre, add_bos_token=False), trust=Trust())
    for text in [*TEXTS, "<|begin|>special<|end|> tokens<|end|>"]:
        assert loaded(text).input_ids == original(pre)(text).input_ids
    assert max(loaded.get_vocab().values()) < VOCABULARY


def test_a_piece_of_the_vocabulary_is_taken_whole_where_the_original_does(tmp_path: Path) -> None:
    header = {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.merges": ["a b"]}
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), tokenizer=original("llama-bpe"), header=header)
    loaded = load_tokenizer(file, trust=Trust())
    word = next(token for token in original("llama-bpe").get_vocab() if token.isascii() and len(token) > 3)
    assert loaded.tokenize(word) == [word]


@pytest.mark.parametrize(("pre", "adds"), [("llama-bpe", True), ("tekken", True), ("qwen2", False), ("gpt-2", False)])
def test_bos_is_added_as_the_file_says_or_as_the_family_does(pre: str, adds: bool, tmp_path: Path) -> None:
    ids = original(pre)("Hello").input_ids
    assert load_tokenizer(written(tmp_path, pre), trust=Trust())("Hello").input_ids == [0] * adds + ids
    for said in (True, False):
        loaded = load_tokenizer(written(tmp_path, pre, add_bos_token=said), trust=Trust())
        assert loaded("Hello").input_ids == [0] * said + ids
    both = load_tokenizer(written(tmp_path, pre, add_bos_token=True, add_eos_token=True), trust=Trust())
    assert both("Hello").input_ids == [0, *ids, 1]


@pytest.mark.parametrize("pre", ["olmo", "granite-docling", "stablelm2", "chatglm-bpe", "glm4", "deepseek-llm", "new"])
def test_another_way_of_splitting_text_is_refused_by_name(pre: str, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), header={"tokenizer.ggml.pre": pre})
    assert f"splits text as {pre!r} (tokenizer.ggml.pre); only gpt-2, llama-bpe," in refusal(file)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"pre": None}, "does not say how text is split"),
        ({"pre": "default"}, "does not say how text is split"),
        ({"model": "rwkv"}, "of kind 'rwkv'"),
        ({"model": None}, "describes no tokenizer"),
        ({"tokens": None}, "describes no tokenizer"),
        ({"model": "llama"}, "SentencePiece, but its header splits text as 'smollm'"),
        ({"add_sep_token": True}, "sets tokenizer.ggml.add_sep_token"),
        ({"remove_extra_whitespaces": True}, "sets tokenizer.ggml.remove_extra_whitespaces"),
        ({"add_bos_token": True, "bos_token_id": None}, "adds BOS, but its header does not say which"),
    ],
)
def test_what_transformers_would_leave_out_is_refused(header: dict[str, Any], said: str, tmp_path: Path) -> None:
    keys = {f"tokenizer.ggml.{key}": value for key, value in header.items()}
    assert said in refusal(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), header=keys))


@pytest.mark.parametrize("prefix", [None, True, False])
def test_sentencepiece_adds_bos_and_a_space_unless_told_otherwise(prefix: bool | None, tmp_path: Path) -> None:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁ab"]
    kinds = [2, 3, 3, *[6] * 256, *[1] * 5]
    rest = VOCABULARY - len(pieces)
    header = {
        "model": "llama",
        "pre": "default",
        "tokens": pieces + [f"[PAD{number}]" for number in range(rest)],
        "token_type": kinds + [5] * rest,
        "scores": [0.0] * 259 + [-1.0, -1.0, -1.0, -2.0, -3.0] + [-10.0] * rest,
        "merges": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "add_space_prefix": prefix,
    }
    keys = {f"tokenizer.ggml.{key}": value for key, value in header.items()}
    loaded = load_tokenizer(write_gguf(tmp_path / "m.gguf", tiny_model("llama"), header=keys), trust=Trust())
    first = "ab" if prefix is False else "▁ab"
    assert loaded.convert_ids_to_tokens(loaded("ab ab!").input_ids) == ["<s>", first, "▁ab", "<0x21>"]
