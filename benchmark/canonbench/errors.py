"""The two error types of canonbench; each message is one clear line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral

LARGEST_SEED = 2**32 - 1
"""The largest seed that every random number generator accepts (the limit of numpy's global one)."""
LARGEST_COUNT = 2**31 - 1
"""Upper bound on rows, tokens or repetitions; no run needs more, so a larger number is a mistake."""


class CanonbenchError(Exception):
    """A failure that the user can act on; the message is one line. Exit code 1."""

    exit_code = 1


class UsageError(CanonbenchError):
    """The command or call itself is wrong (unknown name, contradictory options). Exit code 2."""

    exit_code = 2


def unknown_name(kind: str, name: str, valid: Iterable[str], *, where: str = "") -> UsageError:
    """Make the error for a name that is not one of ``valid``, with a "did you mean" if one is close.

    ``where`` follows the name: "unknown task 'contry' of suite 'mini', must be one of ...".
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    place = f" {where}" if where else ""
    return UsageError(f"unknown {kind} {name!r}{place}, must be one of {', '.join(names)}.{hint}")


def require_whole(name: str, value: object, least: int, most: int) -> None:
    """Raise UsageError unless ``value`` is a whole number from ``least`` to ``most``; ``name`` is for the message."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        got = f", got {value!r}" if not isinstance(value, int) or value.bit_length() < 100 else ""
        raise UsageError(f"{name} must be a whole number from {least} to {most}{got}")
