"""One example: the paper's prefix *x* and its continuation(s) *y^A*, *y^B*."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A prefix and one or two continuations.

    ``suffix_a`` is the answer, the stereotype, or the right form; ``suffix_b`` the other continuation
    of a pair loss (``she``, the wrong form), None for losses of one continuation.
    """

    prefix: str
    suffix_a: str
    suffix_b: str | None = None
