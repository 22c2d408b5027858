"""The libraries inside our web pages, taken from installed packages: DataTables for tables, Vega for plots.

The packages ``itables`` and ``vl-convert-python`` carry them; nothing is fetched. Pages hold the scripts whole, so that
they work from disk and without network, and the licences that these scripts come under.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from canonbench.errors import CanonbenchError

ADVICE = "install them with: pip install 'canonbench[board]'"
EXPORTS = re.compile(r"export\{([^{}]*)\};?")


class Library(NamedTuple):
    """A library as a page holds it."""

    name: str
    script: str
    """The source of one ``<script type="module">``."""


@cache
def data_tables() -> Library:
    """DataTables, as ``window.DataTable``.

    Raises:
        CanonbenchError: the package that carries it is not installed, or its bundle has another form.
    """
    package = _package("itables")
    source = Path(str(package.locate_file("itables/html/dt_bundle.js"))).read_text(encoding="utf-8")
    statements = EXPORTS.findall(source)
    names = dict(part.strip().split(" as ")[::-1] for part in statements[-1].split(",")) if statements else {}
    if "default" not in names:
        raise CanonbenchError(f"itables {package.version} carries DataTables in a form that is not known; {ADVICE}")
    # A page's own script cannot import from a module that stands in the same page, so the export becomes a global.
    script = EXPORTS.sub(f"window.DataTable={names['default']};", source)
    return Library(f"DataTables, from itables {package.version}", script)


@cache
def vega() -> Library:
    """Vega, Vega-Lite and Vega-Embed, as ``window.vega``, ``window.vegaLite`` and ``window.vegaEmbed``.

    Raises:
        CanonbenchError: the package that carries them is not installed.
    """
    converter = _converter()
    versions = f"Vega {converter.get_vega_version()}, Vega-Lite {converter.get_vegalite_versions()[-1]}"
    return Library(f"{versions}, from vl-convert-python {converter.__version__}", converter.javascript_bundle())


def vegalite_svg(spec: dict[str, Any]) -> str:
    """Draw a Vega-Lite specification; the same one gives the same bytes. No network.

    Raises:
        CanonbenchError: the package that draws is not installed.
    """
    svg: str = _converter().vegalite_to_svg(spec, allowed_base_urls=[])
    return svg


def licences() -> str:
    """The notices and licences of all that pages hold of others."""
    return (files("canonbench.leaderboard.pages") / "assets" / "licences.txt").read_text(encoding="utf-8")


def _package(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise CanonbenchError(f"web pages and plots need itables and vl-convert-python; {ADVICE}") from error


def _converter() -> Any:
    _package("vl-convert-python")
    import vl_convert  # noqa: PLC0415  (optional, and large)

    return vl_convert
