"""Where the package's own data lies: inside the wheel, or in the checkout's ``datasets/`` folder."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def data_root() -> Path:
    """The folder that holds ``mini/``, ``published/`` and ``flags/``.

    A wheel carries them as ``canonbench/data``; an editable install reads the checkout itself.
    """
    packaged = PACKAGE / "data"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "datasets"
