"""The two ways a command ends badly, each one clear line: what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral

LARGEST_SEED = 2**32 - 1
"""The largest seed that every generator of random numbers takes (numpy's global one takes no larger)."""
LARGEST_COUNT = 2**31 - 1
"""More rows, tokens or repetitions than any run has; a larger number is a slip."""


class CanonbenchError(Exception):
    """Something failed that the user can act on; the message is one line. Exit code 1."""

    exit_code = 1


class UsageError(CanonbenchError):
    """The command or call itself is wrong (unknown name, contradictory options). Exit code 2."""

    exit_code = 2


def unknown_name(kind: str, name: str, valid: Iterable[str], *, where: str = "") -> UsageError:
    """The error for a name that is not one of ``valid``, with a "did you mean" when one is close.

    ``where`` follows the name: "unknown task 'contry' of suite 'mini', must be one of ...".
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    place = f" {where}" if where else ""
    return UsageError(f"unknown {kind} {name!r}{place}, must be one of {', '.join(names)}.{hint}")


def require_whole(name: str, value: object, least: int, most: int) -> None:
    """UsageError unless ``value``, called ``name``, is a whole number from ``least`` to ``most``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        got = f", got {value!r}" if not isinstance(value, int) or value.bit_length() < 100 else ""
        raise UsageError(f"{name} must be a whole number from {least} to {most}{got}")
