"""Where the package's own files lie: inside the wheel, or in the checkout that is installed editable."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def carried(in_wheel: str, in_checkout: str) -> Path:
    """A folder that a wheel carries inside the package, and an editable install reads from the checkout itself."""
    packaged = PACKAGE / in_wheel
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / in_checkout


def data_root() -> Path:
    """The folder that holds ``mini/``, ``published/`` and ``flags/``."""
    return carried("data", "datasets")
