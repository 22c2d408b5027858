"""Build self-contained HTML files: styles, scripts and data inline, and a policy that allows no other script.

Pages use DataTables for tables and Vega for plots, taken from the installed packages ``itables`` and
``vl-convert-python``; nothing is fetched. A page contains these scripts whole, so that it works from disk and without
network, together with their licences.

Values from a row reach a page in only two ways: through a template, which escapes them, or as JSON in a data block,
which browsers do not run. The content security policy lists the hashes of our own scripts, so that a script that got in
in any other way would not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from canonbench.errors import CanonbenchError

ADVICE = "install them with: pip install 'canonbench[board]'"
EXPORTS = re.compile(r"export\{([^{}]*)\};?")


class Library(NamedTuple):
    """A script library as it is embedded in a page."""

    name: str
    script: str
    """The source of one ``<script type="module">``."""


@cache
def data_tables() -> Library:
    """Load DataTables, as ``window.DataTable``.

    Raises:
        CanonbenchError: the package that contains it is not installed, or its bundle has an unknown form.
    """
    package = _package("itables")
    source = Path(str(package.locate_file("itables/html/dt_bundle.js"))).read_text(encoding="utf-8")
    statements = EXPORTS.findall(source)
    names = dict(part.strip().split(" as ")[::-1] for part in statements[-1].split(",")) if statements else {}
    if "default" not in names:
        raise CanonbenchError(f"itables {package.version} carries DataTables in a form that is not known; {ADVICE}")
    # A page's own script cannot import from an inline module of the same page, so the export becomes a global.
    script = EXPORTS.sub(f"window.DataTable={names['default']};", source)
    return Library(f"DataTables, from itables {package.version}", script)


@cache
def vega() -> Library:
    """Load Vega, Vega-Lite and Vega-Embed, as ``window.vega``, ``window.vegaLite`` and ``window.vegaEmbed``.

    Raises:
        CanonbenchError: the package that contains them is not installed.
    """
    converter = _converter()
    versions = f"Vega {converter.get_vega_version()}, Vega-Lite {converter.get_vegalite_versions()[-1]}"
    return Library(f"{versions}, from vl-convert-python {converter.__version__}", converter.javascript_bundle())


def vegalite_svg(spec: dict[str, Any]) -> str:
    """Draw a Vega-Lite specification as SVG without network; the same specification gives the same bytes.

    Raises:
        CanonbenchError: the package that draws is not installed.
    """
    svg: str = _converter().vegalite_to_svg(spec, allowed_base_urls=[])
    return svg


def licences() -> str:
    """The notices and licences of all third-party code in the pages."""
    return (files("canonbench.board") / "assets" / "licences.txt").read_text(encoding="utf-8")


def _package(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise CanonbenchError(f"web pages and plots need itables and vl-convert-python; {ADVICE}") from error


def _converter() -> Any:
    _package("vl-convert-python")
    import vl_convert  # noqa: PLC0415  (optional, and large)

    return vl_convert


PACKAGE = "canonbench.board"
BREAKS_OUT = re.compile(r"<(?=!--|/?script)", re.IGNORECASE)


def asset(name: str) -> str:
    """Read a text file from the package's assets."""
    return (files(PACKAGE) / "assets" / name).read_text(encoding="utf-8")


def document(
    template: str, *, scripts: Sequence[str] = (), data: Mapping[str, Any] | None = None, **values: Any
) -> str:
    """Fill a template of ``assets``.

    Args:
        template: its file name.
        scripts: sources of modules, run in this order; they find ``data`` in the element with the id ``data``.
        data: values that JSON can represent.
        values: the template's variables, escaped there unless they are ``Markup``.
    """
    sources = [_inside_script(each) for each in scripts]
    allowed = " ".join(f"'sha256-{_digest(source)}'" for source in sources) or "'none'"
    return (
        _environment()
        .get_template(template)
        .render(
            policy=(
                f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
                "base-uri 'none'; form-action 'none'"
            ),
            style=Markup(asset("style.css")),
            scripts=[Markup(source) for source in sources],
            data=None if data is None else Markup(_json(data)),
            **values,
        )
    )


def _json(data: Mapping[str, Any]) -> str:
    """Encode as JSON in which no text can end the enclosing script element."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _inside_script(source: str) -> str:
    """Escape markup in a script's strings (it occurs only there) that could end the script element, or hide its end."""
    return BREAKS_OUT.sub(r"\\x3c", source.replace("\r\n", "\n")).strip() + "\n"


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
