"""The vocabulary that the parts of an ensemble share."""

from __future__ import annotations

from typing import Any

from canonbench.errors import CanonbenchError

PROBES = (
    "The capital of France is Paris, and it isn't far.",
    " a leading space, two  spaces, a tab\tand\na line\n\n",
    "camelCase snake_case 3.14159 2024-02-29 x=f(y)[0]{1};",
    "Crème brûlée, Zoë, naïve, Œuvre: “quoted”, 100 €",
    "Москва, 東京, القاهرة, 서울, 🦉",
    "antidisestablishmentarianism ANTIDISESTABLISHMENTARIANISM",
)
"""Texts that tokenizers of different merges or habits cut differently."""


def shared_vocabulary(tokenizer: Any, other: Any, names: tuple[str, str]) -> int:
    """How many token ids, from 0 on, mean the same to two tokenizers that cut text alike.

    Their ordinary vocabularies must be the same. Tokens that were added to only one of them, such as those that fill
    GPT-J's up to 50,400, stand behind the shared ones.

    Raises:
        CanonbenchError: an ordinary token has another id or is not there, or a text is cut differently.
    """
    own, others = _by_id(tokenizer), _by_id(other)
    top = 1 + max((*own, *others))
    count = next((token for token in range(top) if own.get(token) != others.get(token)), top)
    for words, each in ((own, tokenizer), (others, other)):
        added = set(each.get_added_vocab().values())
        if any(token >= count and token not in added for token in words):
            raise CanonbenchError(
                f"{names[0]} and {names[1]} have different vocabularies: token {count} is {own.get(count)!r} in the "
                f"one and {others.get(count)!r} in the other; the parts of an ensemble must share a tokenizer"
            )
    for text in PROBES:
        one, two = (each(text, add_special_tokens=False)["input_ids"] for each in (tokenizer, other))
        if one != two:
            raise CanonbenchError(
                f"{names[0]} and {names[1]} have different tokenizers: they cut {text!r} differently; "
                "the parts of an ensemble must share one"
            )
    return count


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {token: word for word, token in tokenizer.get_vocab().items()}
