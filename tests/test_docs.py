"""The documentation: links and anchors resolve, generated pages are current, commands exist, the tutorials work."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from canonbench.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for folder in ("submissions", "demo-models", "datasets") for path in sorted(ROOT.glob(f"{folder}/*/*.md"))),
]
REFERENCE = re.compile(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?")
"""How code, help, errors and records name a place in the documentation."""


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,6} (.+)$", prose(page), flags=re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def broken(target: str, folder: Path) -> str | None:
    """Why ``path#anchor``, seen from the folder, leads nowhere; None if it leads somewhere."""
    name, _, anchor = target.partition("#")
    path = folder / name
    if not path.exists():
        return f"{target}: no such file"
    if anchor and anchor not in anchors(path):
        return f"{target}: no such heading"
    return None


def links(page: Path) -> Iterator[str]:
    """The relative links and pictures of a page, as written."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", target):
            yield page.name + target if target.startswith("#") else target


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    assert [why for target in links(page) if (why := broken(target, page.parent))] == []


def test_pages_of_the_site_link_to_nothing_outside_it() -> None:
    outside = [
        (page.name, target)
        for page in PAGES
        for target in links(page)
        if not (page.parent / target.partition("#")[0]).resolve().is_relative_to(DOCS)
    ]
    assert outside == []


def test_headings_of_a_page_differ() -> None:
    """Of equal ones GitHub and the site number the anchors in different ways."""
    double = {page.name: [name for name, count in Counter(anchors(page)).items() if count > 1] for page in PAGES}
    assert {name: found for name, found in double.items() if found} == {}


def test_the_site_lists_every_page() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def sources() -> Iterator[Path]:
    for folder, kinds in (
        ("benchmark", ("py", "html", "js", "jinja")),
        ("scripts", ("py",)),
        ("tests", ("py",)),
        ("submissions", ("py", "yaml", "md")),
        ("datasets", ("json", "md", "yaml")),
        (".ci", ("py",)),
    ):
        for kind in kinds:
            yield from sorted((ROOT / folder).rglob(f"*.{kind}"))
    yield ROOT / ".ci" / "run"


FROZEN = ROOT / "datasets" / "flags" / "published.json"
"""Its hash is part of the published suite's data hash, so not even its prose may change."""


def test_references_to_the_documentation_resolve() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {why}"
        for path in sources()
        if path.name not in {Path(__file__).name, "test_validate.py"}  # these name pages that do not exist
        for target in REFERENCE.findall(path.read_text(encoding="utf-8"))
        if (why := broken(target, ROOT))
    ]
    assert wrong == []


def test_code_refers_to_the_protocol_by_its_headings() -> None:
    """No "PROTOCOL section 4": a reader cannot follow that, and no test would notice when the section moves."""
    vague = re.compile(r"PROTOCOL,? (?:sections? )?\d|\bMETHODS,? (?:section )?\d|\(ARCHITECTURE\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        if path not in (FROZEN, Path(__file__).resolve())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if vague.search(line)
    ]
    assert found == []


def test_the_page_of_the_command_line_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "write_cli_reference.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "run scripts/write_cli_reference.py"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every canonbench command in the shell blocks of the pages, with the page's name."""
    for page in [*PAGES, *OTHERS]:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
                words = shlex.split(line, comments=True)
                if words[:1] == ["canonbench"]:
                    yield page.name, words[1:]


def unknown(words: list[str]) -> list[str]:
    """The subcommands and options of a command line that canonbench does not have."""
    command: click.Command = cli
    context = click.Context(cli, info_name="canonbench", **cli.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return words[:1]
        command, context, words = found, click.Context(found, info_name=words[0], parent=context), words[1:]
    known = {flag for each in command.get_params(context) for flag in (*each.opts, *each.secondary_opts)}
    return [word for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]


def test_every_command_in_the_documentation_exists() -> None:
    seen = list(commands())
    assert len(seen) > 50
    assert [(page, words) for page, words in seen if unknown(words)] == []


def test_the_suite_of_the_tutorial_is_a_suite(tmp_path: Path) -> None:
    page = (DOCS / "tutorials" / "your-own-suite.md").read_text(encoding="utf-8")
    files = re.findall(r"<!-- file: ([\w.]+) -->\n```\w+\n(.*?)```", page, re.DOTALL)
    (tmp_path / "rivers").mkdir()
    for name, content in files:
        (tmp_path / "rivers" / name).write_text(content, encoding="utf-8")
    assert [name for name, _ in files] == ["canonical.jsonl", "evaluation.jsonl", "hard.jsonl", "suite.yaml"]
    assert ran(tmp_path, "data", "check", "rivers") == "suite rivers: 0 errors, 0 warnings, 0 notes\n"
    scored = ran(tmp_path, "evaluate", "--model", "demo-backpack", "--suite", "rivers", "--split", "val")
    assert "\nriver  4 " in scored


def ran(folder: Path, *arguments: str) -> str:
    """What the command printed."""
    command = [sys.executable, "-m", "canonbench", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
