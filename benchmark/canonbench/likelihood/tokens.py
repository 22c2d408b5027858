"""From text to token ids, exactly as docs/reference/protocol.md#1-log-likelihood says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError

SEPARATOR = "<|endoftext|>"
"""The document separator as general text spells it."""
LONE_SPACES = frozenset({" ", "▁", "Ġ", "<0x20>"})


class Request(NamedTuple):
    """One question to the model: the log-probability of each of ``ids[start:]``, given all that stands before it."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Encoder:
    """A tokenizer's habits, found by trying it: what it puts around a text, and whether a space stands alone."""

    tokenizer: Any
    before: tuple[int, ...]
    """Special tokens that it puts in front (BOS)."""
    lone_space: bool
    """Sentencepiece-style: " a" carries a token that is only the space."""

    @staticmethod
    def of(tokenizer: Any) -> Encoder:
        """Probe ``tokenizer``. What it appends (EOS) is never used: it would stand between prefix and continuation."""
        plain = _ids(tokenizer, ["a"], special=False)[0]
        dressed = _ids(tokenizer, ["a"], special=True)[0]
        places = [i for i in range(len(dressed) - len(plain) + 1) if dressed[i : i + len(plain)] == plain]
        if not plain or not places:
            raise CanonbenchError(
                f"{type(tokenizer).__name__} changes a text when it adds special tokens; cannot be used"
            )
        spaced = tokenizer.convert_ids_to_tokens(_ids(tokenizer, [" a"], special=False)[0])
        return Encoder(tokenizer, tuple(dressed[: places[0]]), len(spaced) > 1 and spaced[0] in LONE_SPACES)

    def pairs(self, pairs: Sequence[tuple[str, str]], origins: Sequence[str] | None = None) -> list[Request]:
        """Prefix and continuation, tokenised separately, then concatenated.

        Args:
            pairs: (prefix, continuation) texts.
            origins: where each pair comes from (``file:line``), for error messages.

        Raises:
            CanonbenchError: a prefix or continuation of zero tokens; its origin is named.
        """
        prefixes = _ids(self.tokenizer, [prefix for prefix, _ in pairs])
        texts = [text.removeprefix(" ") if self.lone_space else text for _, text in pairs]
        continuations = _ids(self.tokenizer, texts)
        requests = []
        for index, (prefix, continuation) in enumerate(zip(prefixes, continuations, strict=True)):
            ids = (*self.before, *prefix)
            if not ids or not continuation:
                what = "continuation" if ids else "prefix"
                raise CanonbenchError(f"{origin(origins, index)}: the {what} {pairs[index][bool(ids)]!r} has no tokens")
            requests.append(Request((*ids, *continuation), len(ids)))
        return requests

    def texts(self, texts: Sequence[str], origins: Sequence[str] | None = None) -> list[Request]:
        """Chunks of general text, scored whole; the first token has nothing before it and is never scored.

        ``<|endoftext|>`` becomes the model's own BOS (else EOS) id, or is stripped if it has neither; a leading one is
        dropped where the tokenizer adds BOS itself.

        Raises:
            CanonbenchError: a chunk has fewer than two tokens; its origin is named.
        """
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        separator = next(((token,) for token in known if token is not None), ())
        pieces = [text.split(SEPARATOR) for text in texts]
        encoded = iter(_ids(self.tokenizer, [piece for parts in pieces for piece in parts]))
        requests = []
        for index, parts in enumerate(pieces):
            ids = list(self.before)
            for number in range(len(parts)):
                leading = number == 1 and not parts[0] and self.before
                if number and not leading:
                    ids += separator
                ids += next(encoded)
            if len(ids) < 2:
                raise CanonbenchError(f"{origin(origins, index)}: a chunk of {len(ids)} tokens has nothing to score")
            requests.append(Request(tuple(ids), 1))
        return requests


def origin(origins: Sequence[str] | None, index: int) -> str:
    """Where a request comes from, for messages."""
    return origins[index] if origins is not None else f"item {index}"


def check_lengths(
    requests: Sequence[Request], origins: Sequence[str] | None, *, context: int | None, vocabulary: int
) -> None:
    """Every sequence fits the context and every token id the vocabulary; nothing is truncated.

    Raises:
        CanonbenchError: naming the first offender's origin.
    """
    for index, request in enumerate(requests):
        if context is not None and len(request.ids) > context:
            raise CanonbenchError(
                f"{origin(origins, index)}: {len(request.ids)} tokens, but the model's context is {context}; "
                "nothing is truncated, so this model cannot be scored on this suite"
            )
        if max(request.ids) >= vocabulary:
            raise CanonbenchError(
                f"{origin(origins, index)}: token id {max(request.ids)} is outside the vocabulary of {vocabulary}; "
                "is this the model's own tokenizer?"
            )


def _ids(tokenizer: Any, texts: list[str], *, special: bool = False) -> list[list[int]]:
    if not texts:
        return []
    # verbose=False: lengths are checked against the model's context, so the tokenizer's own warning says nothing new
    encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)["input_ids"]
    return [list(ids) for ids in encoded]
