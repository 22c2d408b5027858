"""One HTML file that needs nothing else: styles, scripts and data inside, and a policy that allows no other script.

Everything that comes from a row reaches a page in one of two ways: through a template, which escapes it, or as JSON in
a data block, which no browser runs. The content security policy lists the hashes of our own scripts, so that a third
way, should one be overlooked, runs nothing either.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

PACKAGE = "canonbench.leaderboard.pages"
BREAKS_OUT = re.compile(r"<(?=!--|/?script)", re.IGNORECASE)


def asset(name: str) -> str:
    """The text of a file that the package carries."""
    return (files(PACKAGE) / "assets" / name).read_text(encoding="utf-8")


def document(
    template: str, *, scripts: Sequence[str] = (), data: Mapping[str, Any] | None = None, **values: Any
) -> str:
    """Fill a template of ``assets``.

    Args:
        template: its file name.
        scripts: sources of modules, run in this order; they find ``data`` in the element with the id ``data``.
        data: what JSON can hold.
        values: what the template asks for, escaped there unless ``Markup``.
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
    """JSON in which nothing can end the script element that holds it."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _inside_script(source: str) -> str:
    """A script in whose strings (the only place where they occur) no markup can end the element, or hide its end."""
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
