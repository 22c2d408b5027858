"""Turn text into token ids, exactly as docs/reference/protocol.md#1-log-likelihood defines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError

SEPARATOR = "<|endoftext|>"
"""The document separator as written in general text."""
LONE_SPACES = frozenset({" ", "▁", "Ġ", "<0x20>"})


class Request(NamedTuple):
    """One sequence to score: the log-probability of each token of ``ids[start:]``, given all tokens before it."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and its probed behaviour: special tokens it adds, and whether a leading space is its own token."""

    tokenizer: Any
    before: tuple[int, ...]
    """Special tokens added before a text (BOS)."""
    lone_space: bool
    """True if " a" yields a separate token for the space, as in SentencePiece."""

    @staticmethod
    def of(tokenizer: Any) -> Encoder:
        """Probe ``tokenizer``. An appended EOS is never used: it would come between prefix and continuation.

        Raises:
            CanonbenchError: the tokenizer changes a text when it adds special tokens.
        """
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
        """Tokenise prefix and continuation separately, then concatenate them.

        Args:
            pairs: (prefix, continuation) texts.
            origins: where each pair comes from (``file:line``), for error messages.

        Raises:
            CanonbenchError: a prefix or continuation has no tokens; its origin is named.
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
        """Tokenise chunks of general text, scored whole except for the first token, which has no prefix.

        ``<|endoftext|>`` becomes the tokenizer's BOS id (else EOS), or is removed if it has neither. A leading one is
        dropped if the tokenizer adds BOS itself.

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
    """Return where a request comes from, for error messages."""
    return origins[index] if origins is not None else f"item {index}"


def check_lengths(
    requests: Sequence[Request], origins: Sequence[str] | None, *, context: int | None, vocabulary: int
) -> None:
    """Check that every sequence fits the context and every token id the vocabulary; nothing is truncated.

    Raises:
        CanonbenchError: one does not; the origin of the first is named.
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
    # verbose=False: lengths are checked against the model's context, so the tokenizer's own warning adds nothing
    encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)["input_ids"]
    return [list(ids) for ids in encoded]
